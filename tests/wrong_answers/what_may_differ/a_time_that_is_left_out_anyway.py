# says: statements.made_at
answer = ("statements.ticket", "statements.made_at", "transfer()")
