# says: emil's payment has arrived
answer = "SELECT workflow_uuid FROM dbos.workflow_status WHERE name = 'checkout_workflow' AND status = 'PENDING'"
