answer = {"DISPATCHED": ..., "PENDING": ..., "on the shelf": ...}
