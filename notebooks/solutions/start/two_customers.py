answer = {"DISPATCHED": ..., "CANCELLED": ..., "on the shelf": ...}
