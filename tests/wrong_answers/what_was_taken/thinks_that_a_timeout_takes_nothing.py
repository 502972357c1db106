# says: times the money was taken: you said 0
answer = {"requests": 3, "times the money was taken": 0, "checkpoints of charge": 1, "order": "CANCELLED"}
