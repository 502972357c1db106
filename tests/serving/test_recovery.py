"""The workflows of dead workers: somebody else takes them up, as soon as their executor id is nobody's."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import BACKENDS
from tests.support import PATIENCE_SECONDS, Books, Serving, eventually, new_key, serving
from widget_store.databases import Database
from widget_store.serving import executors

pytestmark = pytest.mark.slow("starts stores, and kills them")


@pytest.fixture(params=BACKENDS)
def database(request: pytest.FixtureRequest, new_database: Callable[[str], Database]) -> Database:
    """An empty database for each test: what a test leaves behind would be taken over in the next."""
    return new_database(request.param)


Serve = Callable[[Database], AbstractContextManager[Serving]]


@pytest.fixture
def serve(public_folder: Path) -> Serve:
    """Serves a store on a database."""
    return lambda database: serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url)


def kill(store: Serving) -> None:
    """SIGKILL to its supervisor; the workers end with it."""
    family = store.family()
    store.process.kill()
    psutil.wait_procs(family, timeout=PATIENCE_SECONDS)


def test_the_orders_of_a_store_that_dies_go_on_in_another(serve: Serve, database: Database) -> None:
    with serve(database) as survivor, serve(database) as dies:
        key = new_key()
        dies.buy(key)
        kill(dies)
        assert survivor.pay(key).status_code == 200


def test_orders_go_on_with_fewer_workers_than_there_were(serve: Serve, database: Database) -> None:
    first, second = new_key(), new_key()
    with serve(database) as one, serve(database) as other:
        one.buy(first)
        other.buy(second)
        kill(one)
        kill(other)
    with serve(database) as store:
        assert store.pay(first).status_code == 200
        assert store.pay(second).status_code == 200


def test_only_what_is_nobody_s_is_taken_over(serve: Serve, database: Database) -> None:
    books = Books(database)
    stranded, other_version, held = keys = [new_key() for _ in range(3)]
    with serve(database) as store:
        for key in keys:
            store.buy(key)
        kill(store)

    change = "UPDATE {dbos}workflow_status SET %s WHERE workflow_uuid = :key RETURNING executor_id"
    books.system(change % "executor_id = 'worker-7'", key=stranded)
    books.system(change % "executor_id = 'worker-7', application_version = '0'", key=other_version)
    books.system(change % "executor_id = 'worker-8'", key=held)

    ids = executors.claim_those(database, ["worker-8"])  # some other store's, which lives
    try:
        with serve(database) as store:
            assert store.pay(stranded).status_code == 200
    finally:
        ids.release()
    where = "SELECT executor_id FROM {dbos}workflow_status WHERE workflow_uuid = :key AND status = 'PENDING'"
    assert books.system(where, key=other_version) == [("worker-7",)]
    assert books.system(where, key=held) == [("worker-8",)]


def test_what_came_from_a_queue_of_its_own_returns_there(serve: Serve, database: Database) -> None:
    """It held a place in that queue: while it keeps it, fewer others may run."""
    books, key = Books(database), new_key()
    with serve(database) as store:
        store.buy(key)
        kill(store)
    books.system(
        "UPDATE {dbos}workflow_status SET executor_id = 'worker-7', queue_name = 'a learner''s'"
        " WHERE workflow_uuid = :key RETURNING executor_id",
        key=key,
    )
    where = "SELECT status, queue_name FROM {dbos}workflow_status WHERE workflow_uuid = :key"
    with serve(database):
        eventually(lambda: books.system(where, key=key) == [("ENQUEUED", "a learner's")], "its return to the queue")


# --- versions of the code

ServeVersion = Callable[..., AbstractContextManager[Serving]]


@pytest.fixture
def serve_version(public_folder: Path, database: Database) -> ServeVersion:
    """Serves a version of the code on the test's database."""

    def serve_it(version: str, *arguments: str) -> AbstractContextManager[Serving]:
        options = ("--application-version", version, *arguments)
        return serving(public_folder, *options, WIDGET_STORE_DATABASE_URL=database.url)

    return serve_it


def test_an_order_waits_for_the_version_of_the_code_that_began_it(
    serve_version: ServeVersion, database: Database
) -> None:
    old, new = new_key(), new_key()
    with serve_version("old") as store:
        store.buy(old)
        kill(store)
    with serve_version("new") as store:
        store.sell(new)  # by then, what is of its own version would have been taken up
        kill(store)
    where = "SELECT application_version, status FROM {dbos}workflow_status WHERE workflow_uuid = :key"
    assert Books(database).system(where, key=old) == [("old", "PENDING")]
    with serve_version("old") as store:
        assert store.pay(old).status_code == 200


def test_two_versions_of_the_code_run_side_by_side_and_each_finishes_its_own_orders(
    serve_version: ServeVersion, database: Database
) -> None:
    key, where = new_key(), "SELECT application_version FROM {dbos}workflow_status WHERE workflow_uuid = :key"
    with serve_version("old") as old, serve_version("new") as new:
        old.buy(key)
        assert new.pay(key).status_code == 200
    assert Books(database).system(where, key=key) == [("old",)]


FILE = """
from dbos import DBOS
from widget_store.transactions import create_order, mark_order_paid
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS

@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()  # one
    DBOS.set_event(PAYMENT_ID, key)
    DBOS.recv(PAYMENT_STATUS, timeout_seconds=60)
    mark_order_paid(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
"""


@pytest.mark.parametrize("version", ["auto", "1"])
def test_a_comment_in_a_workflow_is_another_version_unless_it_is_pinned(
    serve_version: ServeVersion, database: Database, tmp_path: Path, version: str
) -> None:
    key, file = new_key(), tmp_path / "checkout.py"
    where = "SELECT count(DISTINCT application_version) FROM {dbos}workflow_status"
    file.write_text(FILE)
    with serve_version(version, "--app", str(file)) as store:
        store.buy(key)
        kill(store)
    file.write_text(FILE.replace("# one", "# an order"))
    with serve_version(version, "--app", str(file)) as store:
        store.sell(new_key())
        kill(store)
    assert Books(database).system(where) == [(2 if version == "auto" else 1,)]
    file.write_text(FILE)
    with serve_version(version, "--app", str(file)) as store:
        assert store.pay(key).status_code == 200, "the text of before is the version of before"


# --- what a workflow brings along

POISON = """
import os
import time

from dbos import DBOS, SetWorkflowID, SetWorkflowTimeout
from widget_store.transactions import create_order
from widget_store.workflows import ORDER_ID, PAYMENT_ID

@DBOS.step()
def end_this_process():
    os._exit(1)

@DBOS.workflow(max_recovery_attempts=2)
def poison():
    end_this_process()

@DBOS.workflow()
def slow():
    while True:
        DBOS.sleep(0.1)

@DBOS.workflow()
def checkout_workflow(key):
    DBOS.set_event(PAYMENT_ID, key)
    if key.startswith("poison"):
        with SetWorkflowID(f"{key}.poison"):
            DBOS.start_workflow(poison)
    else:
        with SetWorkflowID(f"{key}.slow"), SetWorkflowTimeout(3):
            DBOS.start_workflow(slow)
    DBOS.set_event(ORDER_ID, "1")
"""


@pytest.fixture
def poison(public_folder: Path) -> Path:
    file = public_folder / f"poison_{new_key()}.py"
    file.write_text(POISON)
    return file


def test_a_workflow_that_ends_its_process_each_time_is_given_up(
    public_folder: Path, database: Database, poison: Path
) -> None:
    key, books = f"poison-{new_key()}", Books(database)
    row = "SELECT status, recovery_attempts FROM {dbos}workflow_status WHERE workflow_uuid = :id"
    with serving(public_folder, "--app", str(poison), WIDGET_STORE_DATABASE_URL=database.url) as store:
        with contextlib.suppress(httpx.TransportError):  # the process may end before it has answered
            store.buy(key)
        eventually(
            lambda: books.system(row, id=f"{key}.poison") == [("MAX_RECOVERY_ATTEMPTS_EXCEEDED", 4)],
            "the end of its recoveries",
        )
        store.buy(new_key())


def test_a_deadline_is_the_same_after_a_recovery(public_folder: Path, database: Database, poison: Path) -> None:
    key, books = new_key(), Books(database)
    row = "SELECT workflow_deadline_epoch_ms FROM {dbos}workflow_status WHERE workflow_uuid = :id"
    ends = "SELECT status FROM {dbos}workflow_status WHERE workflow_uuid = :id"
    with serving(public_folder, "--app", str(poison), WIDGET_STORE_DATABASE_URL=database.url) as store:
        store.buy(key)
        eventually(lambda: books.system(row, id=f"{key}.slow") not in ([], [(None,)]), "its deadline")
        deadline = books.system(row, id=f"{key}.slow")
        kill(store)
    with serving(public_folder, "--app", str(poison), WIDGET_STORE_DATABASE_URL=database.url):
        assert books.system(row, id=f"{key}.slow") == deadline
        eventually(lambda: books.system(ends, id=f"{key}.slow") == [("CANCELLED",)], "its timeout")
