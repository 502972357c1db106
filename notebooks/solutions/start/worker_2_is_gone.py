answer = {"DISPATCHED": ..., "dispatched by worker-1": ..., "dispatched by worker-2": ...}
