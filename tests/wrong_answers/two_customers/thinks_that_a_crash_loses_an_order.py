# says: DISPATCHED: you said 0, but the database has 1
answer = {"DISPATCHED": 0, "CANCELLED": 2, "on the shelf": 100}
