# says: on the shelf: you said 97, but the database has 98
answer = {"DISPATCHED": 1, "PENDING": 2, "on the shelf": 97}
