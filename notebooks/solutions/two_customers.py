answer = {"DISPATCHED": 1, "CANCELLED": 1, "on the shelf": 99}
