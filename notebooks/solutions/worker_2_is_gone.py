answer = {"DISPATCHED": 4, "dispatched by worker-1": 3, "dispatched by worker-2": 1}
