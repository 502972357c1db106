# says: fix has deleted the checkpoint of a payment that had arrived
from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status="CANCELLED"):
        client.rewind_workflow(workflow.workflow_id, start_step=1)
