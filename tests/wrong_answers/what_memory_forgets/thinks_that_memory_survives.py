# says: DISPATCHED: you said 2, but the database has 1
answer = {"DISPATCHED": 2, "PENDING": 1, "on the shelf": 98}
