from dbos import DBOSClient


def fix(client: DBOSClient) -> None:
    # Find the checkouts that were cancelled, and let each go on where it was.
    ...
