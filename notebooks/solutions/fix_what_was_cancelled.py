from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    for workflow in client.list_workflows(status="CANCELLED"):
        client.resume_workflow(workflow.workflow_id)
