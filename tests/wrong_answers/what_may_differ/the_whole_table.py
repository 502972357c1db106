# says: would not be noticed
answer = ("statements", "transfer()")
