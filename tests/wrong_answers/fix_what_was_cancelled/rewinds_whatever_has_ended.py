# says: checkout had ended
from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status=["CANCELLED", "SUCCESS"], name="checkout_workflow"):
        client.rewind_workflow(workflow.workflow_id)
