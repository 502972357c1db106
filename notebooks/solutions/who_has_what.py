from dbos import DBOSClient


def who_has_what(client: DBOSClient) -> dict[str, str]:
    """For each workflow that is under way, its id and the executor that has it."""
    under_way = client.list_workflows(status="PENDING")
    return {workflow.workflow_id: workflow.executor_id for workflow in under_way}
