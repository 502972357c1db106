# says: two undisturbed runs differ: table statements
answer = ("ticket", "transfer()")
