# says: All parcels of blue have ended, and your function has not
import time

from dbos import DBOSClient


def switch_and_drain(client: DBOSClient, old: str, new: str, stop) -> None:
    """Let new work go to the version `new`. When nothing of the version `old` is left, call stop(old)."""
    client.set_latest_application_version(new)
    while any(each.status != "SUCCESS" for each in client.list_workflows(app_version=old)):
        time.sleep(0.1)
    stop(old)
