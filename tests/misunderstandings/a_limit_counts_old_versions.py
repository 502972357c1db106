"""A queue's global limit counts all that is PENDING, also what belongs to a version that no process runs any more."""

import os
import subprocess
import sys
import time

from dbos import DBOS, DBOSClient

URL = os.environ.get("DATABASE_URL", "sqlite:///a_limit_counts_old_versions.sqlite")


@DBOS.workflow()
def dispatch(order: str) -> None:
    print(f"{DBOS.application_version} dispatches {order}", flush=True)
    DBOS.sleep(600 if order == "order 1" else 0.01)


def worker(version: str, order: str) -> None:
    config = {"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"}
    DBOS(config={**config, "application_version": version})
    DBOS.launch()
    DBOS.register_queue("trucks", global_concurrency=1, polling_interval_sec=0.1)
    DBOS.enqueue_workflow("trucks", dispatch, order)
    time.sleep(600)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)


def look(client: DBOSClient) -> None:
    for each in client.list_workflows():
        print(f"    {each.input['args'][0]}, {each.app_version}: {each.status}")


def main() -> None:
    client = DBOSClient(system_database_url=URL)
    old = start("version 1", "order 1")
    old.stdout.readline()
    old.kill()
    old.communicate()
    new = start("version 2", "order 2")
    while len(client.list_workflows()) < 2:
        time.sleep(0.1)
    time.sleep(2)
    print("Version 1 has crashed, and version 2 runs. The queue has one place.")
    look(client)
    (left,) = client.list_workflows(status="PENDING")
    client.cancel_workflow(left.workflow_id)
    new.stdout.readline()
    while client.list_workflows(status=["PENDING", "ENQUEUED"]):
        time.sleep(0.1)
    print("What version 1 has left is cancelled.")
    look(client)
    new.kill()
    new.communicate()


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else worker(*sys.argv[1:])
