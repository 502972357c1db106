# says: the second of two undisturbed runs differs: table statements
answer = ("ticket", "transfer()")
