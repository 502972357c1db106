import time

from dbos import DBOSClient


def switch_and_drain(client: DBOSClient, old: str, new: str, stop) -> None:
    """Let new work go to the version `new`. When nothing of the version `old` is left, call stop(old)."""
    # write your part here
