# says: The store is dead while mend runs: nobody can give a result
from dbos import DBOSClient


def mend(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status="CANCELLED"):
        client.resume_workflow(workflow.workflow_id).get_result()
