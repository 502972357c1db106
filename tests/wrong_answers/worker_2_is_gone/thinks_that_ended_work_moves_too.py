# says: dispatched by worker-1: you said 4, but the database has something else
answer = {"DISPATCHED": 4, "dispatched by worker-1": 4, "dispatched by worker-2": 0}
