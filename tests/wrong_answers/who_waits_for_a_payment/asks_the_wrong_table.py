# says: The database refuses it
answer = "SELECT workflow_uuid FROM dbos.workflows WHERE status = 'PENDING'"
