# says: two undisturbed runs differ: workflows
answer = ("statements.ticket",)
