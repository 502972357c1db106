# says: PENDING: you said 0, but the database has something else
answer = {"PENDING": 0, "CANCELLED": 4, "on the shelf": 100}
