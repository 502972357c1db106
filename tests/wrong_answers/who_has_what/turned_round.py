# says: 'worker-1' is not a workflow's id
from dbos import DBOSClient


def who_has_what(client: DBOSClient) -> dict[str, str]:
    """For each workflow that is under way, its id and the executor that has it."""
    under_way = client.list_workflows(status="PENDING")
    return {each.executor_id: each.workflow_id for each in under_way}
