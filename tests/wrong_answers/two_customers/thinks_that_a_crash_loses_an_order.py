# says: DISPATCHED: you said 0, but the database has something else
answer = {"DISPATCHED": 0, "CANCELLED": 2, "on the shelf": 100}
