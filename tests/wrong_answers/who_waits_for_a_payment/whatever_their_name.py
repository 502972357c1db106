# says: anna and bert are the ones who wait: carl.dispatch is a dispatch
answer = """
    SELECT workflow_uuid FROM dbos.workflow_status
    WHERE status = 'PENDING'
    AND workflow_uuid NOT IN (SELECT workflow_uuid FROM dbos.operation_outputs WHERE function_name = 'DBOS.recv')
    AND workflow_uuid NOT IN (SELECT destination_uuid FROM dbos.notifications)
"""
