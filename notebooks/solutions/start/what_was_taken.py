answer = {"requests": ..., "times the money was taken": ..., "checkpoints of charge": ..., "order": ...}
