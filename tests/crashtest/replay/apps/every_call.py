"""Workflows that make every durable call of DBOS, plain and asynchronous, and then wait until they are killed."""

import asyncio
import contextlib
import os
from typing import Any

from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

DBOS(
    config={
        "name": "every-call",
        "system_database_url": os.environ["EVERY_CALL_URL"],
        "application_version": "1",
        "log_level": "ERROR",
        "notification_listener_polling_interval_sec": 0.01,
    }
)


@DBOS.step()
def one() -> int:
    return 1


@DBOS.step()
def fails() -> None:
    raise LookupError("as it should")


@DBOS.step()
async def one_later(number: int) -> int:
    await asyncio.sleep(0.01 * number)
    return number


async def two() -> int:
    return 2


@DBOS.workflow()
def child(number: int) -> int:
    DBOS.set_event("number", number)
    return number + one()


@DBOS.workflow()
def unlucky_child() -> None:
    fails()


@DBOS.workflow()
async def child_later(number: int) -> int:
    return await one_later(number)


@DBOS.dbos_class()
class Counter(DBOSConfiguredInstance):
    def __init__(self, name: str, start: int) -> None:
        super().__init__(name)
        self.start = start

    @DBOS.workflow()
    def count(self, more: int) -> int:
        return self.start + more + one()


counter = Counter("ten", 10)


def wait_for_the_kill() -> None:
    DBOS.recv("never", timeout_seconds=3600)


@DBOS.workflow()
def plain() -> None:
    me = DBOS.workflow_id or ""
    DBOS.patch("first")
    one()
    DBOS.deprecate_patch("second")
    with contextlib.suppress(LookupError):
        fails()
    DBOS.run_step({"name": "by hand"}, lambda: 2)
    DBOS.send(me, "a message", "topic")
    DBOS.send_bulk([])
    DBOS.recv("topic", timeout_seconds=10)
    DBOS.recv("nothing", timeout_seconds=0.01)
    DBOS.set_event("key", "value")
    handle = DBOS.start_workflow(child, 1)
    DBOS.get_event(handle.workflow_id, "number")
    handle.get_status()
    handle.get_result()
    DBOS.get_result(handle.workflow_id)
    DBOS.retrieve_workflow(handle.workflow_id).get_result()
    DBOS.get_workflow_status(handle.workflow_id)
    DBOS.list_workflows(workflow_ids=[handle.workflow_id])
    DBOS.list_workflow_steps(handle.workflow_id)
    child(2)
    with contextlib.suppress(LookupError):
        unlucky_child()
    with contextlib.suppress(LookupError):
        DBOS.start_workflow(unlucky_child).get_result()
    with SetWorkflowID(f"{me}-named"):
        DBOS.start_workflow(child, 3).get_result()
    DBOS.enqueue_workflow("jobs", child, 4).get_result()
    DBOS.wait_first([DBOS.start_workflow(child, 5)])
    counter.count(5)
    DBOS.write_stream("stream", 1)
    DBOS.close_stream("stream")
    DBOS.sleep(0.01)
    wait_for_the_kill()


@DBOS.workflow()
async def later() -> None:
    me = DBOS.workflow_id or ""
    await DBOS.patch_async("first")
    await one_later(0)
    one()
    await DBOS.deprecate_patch_async("second")
    await asyncio.gather(one_later(3), one_later(1), one_later(2))
    await DBOS.run_step_async({"name": "by hand"}, two)
    await DBOS.send_async(me, "a message", "topic")
    await DBOS.recv_async("topic", timeout_seconds=10)
    await DBOS.set_event_async("key", "value")
    await DBOS.get_event_async(me, "key")
    await child_later(1)
    handles = [await DBOS.start_workflow_async(child_later, number) for number in range(3)]
    for handle in handles:
        await handle.get_result()
    await asyncio.gather(child_later(2), child_later(1))
    tasks: list[Any] = [asyncio.ensure_future(one_later(number)) for number in (0, 1)]
    await DBOS.asyncio_wait(tasks)
    await DBOS.write_stream_async("stream", 1)
    await DBOS.close_stream_async("stream")
    await DBOS.sleep_async(0.01)
    await DBOS.recv_async("never", timeout_seconds=3600)


async def start() -> None:
    with SetWorkflowID("later"):
        await DBOS.start_workflow_async(later)
    await asyncio.Event().wait()


if __name__ == "__main__":
    DBOS.launch()
    DBOS.register_queue("jobs", polling_interval_sec=0.02)
    with SetWorkflowID("counted"):
        counter.count(1)
    with SetWorkflowID("plain"):
        DBOS.start_workflow(plain)
    asyncio.run(start())
