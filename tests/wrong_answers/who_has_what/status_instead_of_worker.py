# says: For 'anna' you have 'PENDING'
from dbos import DBOSClient


def who_has_what(client: DBOSClient) -> dict[str, str]:
    """For each workflow that is under way, its id and the executor that has it."""
    return {each.workflow_id: each.status for each in client.list_workflows(status="PENDING")}
