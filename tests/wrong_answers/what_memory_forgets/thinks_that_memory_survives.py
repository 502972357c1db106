# says: DISPATCHED: you said 2, but the database has something else
answer = {"DISPATCHED": 2, "PENDING": 1, "on the shelf": 98}
