# says: lacks 'dora.dispatch', which worker-2 has: it is a dispatch under way
from dbos import DBOSClient


def who_has_what(client: DBOSClient) -> dict[str, str]:
    """For each workflow that is under way, its id and the executor that has it."""
    under_way = client.list_workflows(status="PENDING", name="checkout_workflow")
    return {each.workflow_id: each.executor_id for each in under_way}
