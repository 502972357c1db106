"""A cancel does not stop the step that runs. It takes effect when the workflow calls the next one."""

import asyncio
import os
import threading

from dbos import DBOS
from dbos import error as dbos_error

URL = os.environ.get("DATABASE_URL", "sqlite:///cancelled_at_the_next_step.sqlite")
began, cancelled = threading.Event(), threading.Event()


@DBOS.step()
def pack() -> None:
    began.set()
    cancelled.wait()
    print("packed, after the cancel")


@DBOS.step()
def send() -> None:
    print("sent")


@DBOS.workflow()
def ship() -> None:
    pack()
    print("so the workflow's own code goes on")
    send()


@DBOS.step(preemptible=True)
async def wait_for_a_truck() -> None:
    began.set()
    await asyncio.sleep(600)
    print("the truck is there")


@DBOS.workflow()
async def ship_by_truck() -> None:
    await wait_for_a_truck()


DBOS(config={"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"})
DBOS.launch()
for workflow in (ship, ship_by_truck):
    began.clear()
    handle = DBOS.start_workflow(workflow)
    began.wait()
    DBOS.cancel_workflow(handle.workflow_id)
    cancelled.set()
    try:
        handle.get_result()
    except dbos_error.DBOSAwaitedWorkflowCancelledError:
        steps = [step["function_name"] for step in DBOS.list_workflow_steps(handle.workflow_id)]
        print(f"{workflow.__name__} is cancelled. Steps with a checkpoint: {steps}")
DBOS.destroy()
