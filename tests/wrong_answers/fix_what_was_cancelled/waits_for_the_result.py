# says: The store is dead while fix runs: no workflow can give a result
from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status="CANCELLED"):
        client.resume_workflow(workflow.workflow_id).get_result()
