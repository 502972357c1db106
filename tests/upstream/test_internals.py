"""What `widget_store.dbos_internals` takes from DBOS is still there, and still means what the module takes it for.

A release of DBOS that changes one of these fails a test here, and its name says what is to be done anew.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS, DBOSClient, Queue

from tests.support import PATIENCE_SECONDS, ROOT, environment
from widget_store import dbos_internals

Told = dict[str, Any]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What a program of its own says: these replacements are for a whole process."""
    folder = tmp_path_factory.mktemp("internals")
    urls = [f"sqlite:///{folder / name}.sqlite" for name in ("system", "own", "overridden")]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("internals.py")), *urls],
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "system.sqlite").exists(), "the overriding database is the one in use"
    assert not (folder / "overridden.sqlite").exists(), "and the overridden one is not"
    return dict(json.loads(done.stdout.splitlines()[-1]))


pytestmark = pytest.mark.slow("launches DBOS in a process of its own")


def test_it_is_known_whether_dbos_is_launched(told: Told) -> None:
    assert told["launched"] == [False, True]


def test_the_workflows_of_a_process_are_listed_by_their_names(told: Told) -> None:
    assert told["workflows"] == ["work", "work_awaited"]


def test_a_configuration_wins_over_that_of_the_application(told: Told) -> None:
    assert told["version"] == "v-7"


def test_the_interval_at_which_a_queue_is_looked_at_can_be_made_shorter(told: Told) -> None:
    assert told["polls"] == 0.03


def test_whoever_waits_for_another_workflows_result_can_be_let_look_more_often(told: Told) -> None:
    assert (told["child"], set(told["waits"])) == (6, {0.03})


def test_the_bodies_of_steps_are_run_inside_of_what_is_put_around_them(told: Told) -> None:
    steps = [each.rpartition(" ") for each in told["told"]]
    names = ["plain", "run", "in_a_transaction", "its own name", "run awaited"]
    assert [(name, what) for name, _, what in steps] == [(each, what) for each in names for what in ("begins", "ends")]
    assert told["results"] == [1, 4, 3, 2, 5], "and a step returns what it did"


def test_dbos_has_a_queue_for_what_it_recovers() -> None:
    from dbos import _core, _queue, _sys_db, _utils

    names = {
        value
        for module in (_core, _queue, _sys_db, _utils)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    assert dbos_internals.INTERNAL_QUEUE in names


@pytest.mark.parametrize("method", ["resume_workflows", "list_workflows", "trigger_schedule", "pause_schedule"])
def test_a_client_has_what_the_crash_test_asks_of_it(method: str) -> None:
    assert callable(getattr(DBOSClient, method, None))


def test_what_is_replaced_is_there_to_be_replaced() -> None:
    assert callable(DBOS.step)
    assert callable(DBOS.run_step)
    assert callable(DBOS.run_step_async)
    assert callable(Queue.__init__)
