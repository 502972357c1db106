# says: order: you said 'PAID'
answer = {"requests": 3, "times the money was taken": 3, "checkpoints of charge": 1, "order": "PAID"}
