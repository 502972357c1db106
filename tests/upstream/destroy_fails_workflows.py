"""The shortest program in which `DBOS.destroy()` fails a workflow for good. Its argument is an SQLite URL."""

import os
import sys
import threading

from dbos import DBOS, DBOSClient

url = sys.argv[1]
running = threading.Event()


@DBOS.workflow()
def child() -> None:
    pass


@DBOS.workflow()
def parent() -> None:
    while True:
        DBOS.start_workflow(child)
        running.set()


DBOS(config={"name": "upstream", "system_database_url": url, "log_level": "CRITICAL"})
DBOS.launch()
DBOS.start_workflow(parent)
running.wait()
DBOS.destroy()

(workflow,) = DBOSClient(system_database_url=url).list_workflows(name="parent")
print(workflow.status, workflow.error, flush=True)
os._exit(0)  # the workflow's thread may go on
