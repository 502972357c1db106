# says: times the money was taken: you said 1
answer = {"requests": 3, "times the money was taken": 1, "checkpoints of charge": 1, "order": "CANCELLED"}
