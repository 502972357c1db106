# says: gina's checkout was cancelled; hanna's checkout has ended
answer = """
    SELECT workflow_uuid FROM dbos.workflow_status
    WHERE name = 'checkout_workflow'
    AND workflow_uuid NOT IN (SELECT workflow_uuid FROM dbos.operation_outputs WHERE function_name = 'DBOS.recv')
    AND workflow_uuid NOT IN (SELECT destination_uuid FROM dbos.notifications)
"""
