# says: checkpoints of charge: you said 3
answer = {"requests": 3, "times the money was taken": 3, "checkpoints of charge": 3, "order": "CANCELLED"}
