# says: on the shelf: you said 99, but the database has something else
answer = {"PENDING": 1, "CANCELLED": 2, "on the shelf": 99}
