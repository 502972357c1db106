"""A synchronous call in asynchronous code: DBOS refuses its own, and a synchronous step stops everything else."""

import asyncio
import os
import threading
import time

from dbos import DBOS

URL = os.environ.get("DATABASE_URL", "sqlite:///async_and_sync.sqlite")

in_the_step = threading.Event()


@DBOS.step()
async def asynchronous_step() -> None:
    in_the_step.set()
    await asyncio.sleep(0.5)
    in_the_step.clear()


@DBOS.step()
def synchronous_step() -> None:
    in_the_step.set()
    time.sleep(0.5)
    in_the_step.clear()


@DBOS.workflow()
async def calls_a_synchronous_method() -> None:
    try:
        DBOS.recv()
    except RuntimeError as refusal:
        print("refused:", refusal)


@DBOS.workflow()
async def waits_in_an_asynchronous_step() -> None:
    await asynchronous_step()


@DBOS.workflow()
async def waits_in_a_synchronous_step() -> None:
    synchronous_step()


async def others_run_during(workflow) -> bool:
    """Whether this task has its turn while the step of the workflow runs."""
    running, had_its_turn = asyncio.create_task(workflow()), False
    while not running.done():
        await asyncio.sleep(0.02)
        had_its_turn |= in_the_step.is_set()
    return had_its_turn


async def main() -> None:
    await calls_a_synchronous_method()
    print("others run during an asynchronous step:", await others_run_during(waits_in_an_asynchronous_step))
    print("others run during a synchronous step:", await others_run_during(waits_in_a_synchronous_step))


DBOS(config={"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"})
DBOS.launch()
asyncio.run(main())
DBOS.destroy()
