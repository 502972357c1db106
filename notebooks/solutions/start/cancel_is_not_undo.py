answer = {"PENDING": ..., "CANCELLED": ..., "on the shelf": ...}
