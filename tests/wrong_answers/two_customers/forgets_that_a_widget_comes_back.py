# says: on the shelf: you said 98, but the database has something else
answer = {"DISPATCHED": 1, "CANCELLED": 1, "on the shelf": 98}
