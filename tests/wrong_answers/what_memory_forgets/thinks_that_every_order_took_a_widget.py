# says: on the shelf: you said 97, but the database has something else
answer = {"DISPATCHED": 1, "PENDING": 2, "on the shelf": 97}
