"""A program that takes from DBOS what `widget_store.dbos_internals` takes, and prints what it got, as JSON."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, Queue, SetWorkflowID, SQLAlchemyDatasource
from dbos._sys_db import SystemDatabase

from widget_store import dbos_internals

told: list[str] = []
SYSTEM, OWN, OVERRIDDEN = sys.argv[1:]


@contextlib.contextmanager
def noted(step: str) -> Iterator[None]:
    told.append(f"{step} begins")
    yield
    told.append(f"{step} ends")


waits: list[float] = []
wait_for_a_result = SystemDatabase.await_workflow_result


def note_and_wait(self: SystemDatabase, workflow_id: str, interval: float, **more: Any) -> Any:
    waits.append(interval)
    return wait_for_a_result(self, workflow_id, interval, **more)


patched: Any = SystemDatabase
patched.await_workflow_result = note_and_wait
was_launched = dbos_internals.is_launched()
dbos_internals.override_configuration({"system_database_url": SYSTEM, "application_version": "v-7"})
dbos_internals.look_at_queues_every(0.03)
dbos_internals.look_for_results_every(0.03)
dbos_internals.around_run_steps(noted)
dbos_internals.around_transactions(noted)
DBOS(config={"name": "internals", "system_database_url": OVERRIDDEN, "log_level": "ERROR"})
data = SQLAlchemyDatasource.create(OWN)

with dbos_internals.around_steps(noted):

    @DBOS.step()
    def plain() -> int:
        return 1

    @DBOS.step(name="its own name")
    async def awaited() -> int:
        return 2


@data.transaction
def in_a_transaction() -> int:
    return int(data.sql_session().execute(sa.text("SELECT 3")).scalar_one())


@DBOS.workflow()
def work() -> list[int]:
    return [plain(), DBOS.run_step({"name": "run"}, lambda: 4), in_a_transaction()]


@DBOS.workflow()
def parent() -> int:
    return DBOS.enqueue_workflow("slow", child).get_result()


@DBOS.workflow()
def child() -> int:
    return 6


@DBOS.workflow()
async def work_awaited() -> list[int]:
    async def five() -> int:
        return 5

    return [await awaited(), await DBOS.run_step_async({"name": "run awaited"}, five)]


async def wait_for_it() -> list[int]:
    return await work_awaited()


DBOS.launch()
DBOS.register_queue("slow", polling_interval_sec=60.0)
queue: Queue | None = DBOS.retrieve_queue("slow")
with SetWorkflowID("w-1"):
    results = work() + asyncio.run(wait_for_it())
child_result = parent()
status = DBOS.get_workflow_status("w-1")
print(
    json.dumps(
        {
            "launched": [was_launched, dbos_internals.is_launched()],
            "workflows": [name for name in dbos_internals.registered_workflows() if name.startswith("work")],
            "version": None if status is None else status.app_version,
            "polls": None if queue is None else queue.polling_interval_sec,
            "results": results,
            "told": told,
            "child": child_result,
            "waits": waits,
        }
    ),
    flush=True,
)
DBOS.destroy()
