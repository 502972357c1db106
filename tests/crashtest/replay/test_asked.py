"""Every durable call of DBOS, replayed with the same code: wherever the workflow was killed, nothing differs."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dbos._sys_db import SystemDatabase

from tests.support import environment, eventually
from widget_store.crashtest.replay import asked, replay
from widget_store.databases import Database

APP = Path(__file__).parent / "apps" / "every_call.py"
LAST = {"plain": 41, "later": 33}
"""The number of each workflow's last checkpoint: it waits for a message that never comes."""


@pytest.fixture(scope="module")
def stored(database: Database) -> Iterator[None]:
    """The database has these workflows, killed at their ends."""
    variables = environment(EVERY_CALL_URL=database.system_url)
    process = subprocess.Popen([sys.executable, str(APP)], env=variables, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _last(database) == LAST, "the ends of the two workflows")
    finally:
        process.kill()
        process.communicate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERY_CALL_URL", database.system_url)
        yield


def _tables(database: Database, engine: sa.Engine) -> dict[str, sa.Table]:
    metadata = sa.MetaData(schema=None if database.is_sqlite else "dbos")
    metadata.reflect(engine)
    return {table.name: table for table in metadata.sorted_tables}


def _last(database: Database) -> dict[str, int]:
    """The last step of each workflow. DBOS may be making its tables in this instant: only what is there is asked."""
    engine, schema = database.system_engine(poolclass=sa.NullPool), None if database.is_sqlite else "dbos"
    if not sa.inspect(engine).has_table("operation_outputs", schema=schema):
        return {}
    steps = sa.table("operation_outputs", sa.column("workflow_uuid"), sa.column("function_id"), schema=schema)
    last = sa.select(steps.c.workflow_uuid, sa.func.max(steps.c.function_id)).group_by(steps.c.workflow_uuid)
    with engine.connect() as connection:
        return {name: number for name, number in connection.execute(last) if name in LAST}


@pytest.mark.slow("starts an application, kills it, and replays what it left")
@pytest.mark.usefixtures("stored")
def test_the_same_code_asks_for_every_step_of_every_kind() -> None:
    report = replay(APP, finished=True)
    assert report.same, list(report.lines())
    assert all(each.compared == each.steps for each in report.workflows)


@pytest.mark.slow("replays a workflow for each of its steps")
@pytest.mark.usefixtures("stored")
def test_wherever_it_was_killed_the_same_code_does_not_differ(database: Database) -> None:
    engine = database.system_engine()
    tables = _tables(database, engine)
    for name, last in LAST.items():
        for number in range(last):
            _copy_of_one_killed_earlier(engine, tables, name, number)
    engine.dispose()
    report = replay(APP)
    assert report.same, list(report.lines())
    assert len(report.workflows) == sum(LAST.values()) + len(LAST)


def _copy_of_one_killed_earlier(engine: sa.Engine, tables: dict[str, sa.Table], workflow: str, number: int) -> None:
    with engine.begin() as connection:
        for name in ("workflow_status", "workflow_input", "operation_outputs", "workflow_events_history"):
            table = tables[name]
            earlier: Any = table.c.workflow_uuid == workflow
            if "function_id" in table.c:
                earlier &= table.c.function_id <= number
            for row in connection.execute(sa.select(table).where(earlier)).mappings().all():
                connection.execute(sa.insert(table), {**row, "workflow_uuid": f"{workflow} up to {number}"})


@pytest.mark.parametrize("name", asked.WATCHED)
def test_dbos_still_has_what_is_watched(name: str) -> None:
    theirs = inspect.signature(getattr(SystemDatabase, name)).parameters
    ours = inspect.signature(getattr(asked.Watch, name)).parameters
    named = [each for each, parameter in ours.items() if not each.startswith("_") and parameter.kind not in {2, 4}]
    assert [each for each in theirs if each in named] == named
