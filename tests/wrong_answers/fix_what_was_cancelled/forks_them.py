# says: A fork is another workflow
from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status="CANCELLED"):
        client.fork_workflow(workflow.workflow_id, 1)
