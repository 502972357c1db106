from dbos import DBOSClient


def mend(client: DBOSClient) -> None:
    # Find the checkouts that were cancelled, and let each go on where it was.
    ...
