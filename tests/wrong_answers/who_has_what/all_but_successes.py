# says: has 'carl', which has ended, as CANCELLED
from dbos import DBOSClient


def who_has_what(client: DBOSClient) -> dict[str, str]:
    """For each workflow that is under way, its id and the executor that has it."""
    workflows = client.list_workflows()
    return {each.workflow_id: each.executor_id for each in workflows if each.status != "SUCCESS"}
