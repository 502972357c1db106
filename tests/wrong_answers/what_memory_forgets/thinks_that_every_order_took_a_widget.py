# says: on the shelf: you said 97, and the database has 98
answer = {"DISPATCHED": 1, "PENDING": 2, "on the shelf": 97}
