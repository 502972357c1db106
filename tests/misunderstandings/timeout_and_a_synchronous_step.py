"""A workflow's timeout is a cancel: it does not interrupt a synchronous step, however long that takes."""

import asyncio
import os
import time

from dbos import DBOS, SetWorkflowTimeout
from dbos import error as dbos_error

URL = os.environ.get("DATABASE_URL", "sqlite:///timeout_and_a_synchronous_step.sqlite")


@DBOS.step()
def call_the_bank() -> None:
    time.sleep(2)
    print("the bank was called, to the end")


@DBOS.step()
def note_the_answer() -> None:
    print("the answer was noted")


@DBOS.workflow()
def pay() -> None:
    call_the_bank()
    note_the_answer()


@DBOS.step(timeout_seconds=0.2)
async def call_the_bank_within_the_time() -> None:
    await asyncio.sleep(600)


@DBOS.workflow()
async def pay_in_time() -> None:
    try:
        await call_the_bank_within_the_time()
    except dbos_error.DBOSStepTimeoutError as failure:
        print("an asynchronous step is stopped:", failure)


DBOS(config={"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"})
DBOS.launch()
began = time.monotonic()
with SetWorkflowTimeout(0.2):
    handle = DBOS.start_workflow(pay)
try:
    handle.get_result()
except dbos_error.DBOSAwaitedWorkflowCancelledError:
    print("the caller waited for the whole step:", time.monotonic() - began > 1.9)
    print("the workflow is", handle.get_status().status)
DBOS.start_workflow(pay_in_time).get_result()
try:
    DBOS.step(timeout_seconds=0.2)(time.sleep)
except dbos_error.DBOSException as refusal:
    print("refused:", refusal)
DBOS.destroy()
