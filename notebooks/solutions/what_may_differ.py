answer = ("statements.ticket", "transfer()")
