# says: on the shelf: you said 98, and the database has 99
answer = {"DISPATCHED": 1, "CANCELLED": 1, "on the shelf": 98}
