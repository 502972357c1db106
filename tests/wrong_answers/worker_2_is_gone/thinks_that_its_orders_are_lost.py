# says: DISPATCHED: you said 3, but the database has something else
answer = {"DISPATCHED": 3, "dispatched by worker-1": 2, "dispatched by worker-2": 1}
