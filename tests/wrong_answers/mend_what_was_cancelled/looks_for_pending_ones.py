# says: anna and bert is still CANCELLED
from dbos import DBOSClient


def mend(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status="PENDING"):
        client.resume_workflow(workflow.workflow_id)
