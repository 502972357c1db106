answer = {"DISPATCHED": 1, "PENDING": 2, "on the shelf": 98}
