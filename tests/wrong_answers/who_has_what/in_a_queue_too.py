# says: has 'fred', which is ENQUEUED: it is in a queue, and no worker has it yet
from dbos import DBOSClient


def who_has_what(client: DBOSClient) -> dict[str, str]:
    """For each workflow that is under way, its id and the executor that has it."""
    unfinished = client.list_workflows(status=["PENDING", "ENQUEUED"])
    return {each.workflow_id: each.executor_id for each in unfinished}
