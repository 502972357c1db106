# says: the second of two undisturbed runs differs: workflows
answer = ("statements.ticket",)
