# says: still CANCELLED: the checkout of anna and of bert
from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status="PENDING"):
        client.resume_workflow(workflow.workflow_id)
