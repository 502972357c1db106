"""A worker takes only what belongs to its own version. What belongs to another one waits, without a word."""

import os
import subprocess
import sys
import time

from dbos import DBOS, DBOSClient

URL = os.environ.get("DATABASE_URL", "sqlite:///another_version_waits.sqlite")


@DBOS.workflow()
def checkout(_customer: str) -> None:
    DBOS.recv("payment", timeout_seconds=600)


def worker(version: str, customers: list[str]) -> None:
    config = {"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"}
    DBOS(config={**config, "application_version": version})
    DBOS.launch()
    DBOS.register_queue("orders", polling_interval_sec=0.1)
    if version == "2":
        DBOS.set_latest_application_version("2")  # as a release does
    for customer in customers:
        DBOS.start_workflow(checkout, customer)
    print("ready", flush=True)
    time.sleep(600)


def start(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def look(client: DBOSClient) -> None:
    for each in client.list_workflows():
        print(f"    {each.input['args'][0]}'s checkout, version {each.app_version}: {each.status}")


def main() -> None:
    client = DBOSClient(system_database_url=URL)
    end(start("1", "anna"))
    new = start("2")
    (anna,) = client.list_workflows(status="PENDING")
    client.send(anna.workflow_id, "paid", "payment")
    time.sleep(2)
    print("Version 1 has crashed, and version 2 runs. Anna has paid.")
    look(client)
    end(new)

    old = start("1")
    client.retrieve_workflow(anna.workflow_id).get_result()
    client.enqueue({"queue_name": "orders", "workflow_name": "checkout"}, "bert")
    time.sleep(2)
    print("Only version 1 runs. A client has enqueued Bert's checkout, and named no version.")
    look(client)

    new = start("2")
    while client.list_workflows(status="ENQUEUED"):
        time.sleep(0.1)
    print("Version 2 runs, too: the latest one.")
    look(client)
    end(old)
    end(new)


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else worker(sys.argv[1], sys.argv[2:])
