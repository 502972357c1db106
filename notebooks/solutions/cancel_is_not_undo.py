answer = {"PENDING": 2, "CANCELLED": 2, "on the shelf": 98}
