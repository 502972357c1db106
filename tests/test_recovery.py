"""The workflows of dead workers: somebody else takes them up, as soon as their executor id is nobody's."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from tests.conftest import BACKENDS
from tests.support import PATIENCE_SECONDS, Books, Serving, new_key, serving
from widget_store import executors
from widget_store.database import Database

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
    stranded, queued, other_version, held = keys = [new_key() for _ in range(4)]
    with serve(database) as store:
        for key in keys:
            store.buy(key)
        kill(store)

    change = "UPDATE {dbos}workflow_status SET %s WHERE workflow_uuid = :key RETURNING executor_id"
    books.system(change % "executor_id = 'worker-7'", key=stranded)
    books.system(change % "executor_id = 'worker-7', queue_name = 'a learner''s'", key=queued)
    books.system(change % "executor_id = 'worker-7', application_version = '0'", key=other_version)
    books.system(change % "executor_id = 'worker-8'", key=held)

    ids = executors.claim_those(database, ["worker-8"])  # some other store's, which lives
    try:
        with serve(database) as store:
            assert store.pay(stranded).status_code == 200
    finally:
        ids.release()
    where = "SELECT executor_id FROM {dbos}workflow_status WHERE workflow_uuid = :key AND status = 'PENDING'"
    assert books.system(where, key=queued) == [("worker-7",)]
    assert books.system(where, key=other_version) == [("worker-7",)]
    assert books.system(where, key=held) == [("worker-8",)]
