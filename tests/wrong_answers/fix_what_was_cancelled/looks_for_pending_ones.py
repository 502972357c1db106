# says: anna and bert is still CANCELLED
from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status="PENDING"):
        client.resume_workflow(workflow.workflow_id)
