# says: carl.dispatch is a dispatch
answer = """
    SELECT workflow_uuid FROM dbos.workflow_status
    WHERE workflow_uuid NOT IN (SELECT workflow_uuid FROM dbos.operation_outputs WHERE function_name = 'DBOS.recv')
"""
