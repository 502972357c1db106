"""Executor ids: one for each living worker of a database, and the ids of the dead are free again."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import BACKENDS
from tests.support import PATIENCE_SECONDS, ROOT, cut_connections, environment, eventually, new_key, serving
from widget_store.databases import Database
from widget_store.errors import StoreRunning
from widget_store.serving import executors

CLAIM = """
import sys
from widget_store.databases import at_url
from widget_store.serving.executors import claim

ids = claim(at_url(sys.argv[1]), int(sys.argv[2]))
print(*ids.ids, ids.still_held(), flush=True)
sys.stdin.read()
ids.release()
"""


class Claimant:
    """A process that has claimed ids: file locks tell processes apart, not places in one."""

    def __init__(self, database: Database, workers: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, database.url, str(workers)],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ids(self) -> list[str]:
        assert self.process.stdout is not None
        *ids, still_held = self.process.stdout.readline().split()
        assert still_held == "True"
        return ids

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE_SECONDS)


Claim = Callable[[int], Claimant]


@pytest.fixture
def claim(database: Database) -> Iterator[Claim]:
    """Starts processes that claim ids; they are ended with the test."""
    claimants = []

    def claim(workers: int) -> Claimant:
        claimants.append(Claimant(database, workers))
        return claimants[-1]

    yield claim
    for claimant in claimants:
        if claimant.process.returncode is None:
            claimant.end(kill=True)


def names(*places: int) -> list[str]:
    return [f"worker-{place}" for place in places]


@pytest.mark.slow("starts several processes")
def test_ids_are_never_shared_and_those_of_the_dead_are_free_again(database: Database, claim: Claim) -> None:
    """One story, for each process takes its time to start."""
    assert not executors.any_store_runs(database)
    first = claim(2)
    assert first.ids() == names(1, 2)
    second = claim(1)
    assert second.ids() == names(3)
    assert executors.any_store_runs(database)

    first.end(kill=True)
    third = claim(3)
    assert third.ids() == names(1, 2, 4)

    second.end()
    third.end()
    eventually(lambda: not executors.any_store_runs(database), "the end of the last store")


@pytest.mark.slow("starts two processes")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_store_that_is_to_be_alone_is_refused_beside_another_whatever_id_that_has(
    backend: str, new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "_GONE_WITHIN_SECONDS", 0.0)
    database = new_database(backend)
    first, other = Claimant(database, 1), Claimant(database, 1)
    assert sorted([*first.ids(), *other.ids()]) == names(1, 2)
    for left in (first, other):
        with pytest.raises(StoreRunning, match="Another store is open"):
            executors.claim_alone(database, 1)
        left.end()
    alone = executors.claim_alone(database, 2)
    assert alone.ids == names(1, 2)
    alone.release()


def test_of_the_ids_that_are_named_those_that_are_free_are_claimed(new_database: Callable[[str], Database]) -> None:
    for backend in BACKENDS:
        database = new_database(backend)
        held = executors.claim(database, 1)
        more = executors.claim_those(database, ["worker-3", "worker-1", "local", "worker-x"])
        assert more.ids == names(3)
        more.release()
        held.release()


@pytest.mark.slow("starts a process")
def test_a_look_at_who_runs_takes_no_id_from_the_process_that_looks(new_database: Callable[[str], Database]) -> None:
    """A file lock belongs to a process, and is gone when the process closes the file through any handle."""
    database = new_database("sqlite")
    held = executors.claim(database, 1)
    assert executors.any_store_runs(database)
    second = executors.claim(database, 1)
    assert (held.ids, second.ids) == (names(1), names(2))
    second.release()
    other = Claimant(database, 1)
    assert other.ids() == names(2)
    other.end()
    held.release()
    assert not executors.any_store_runs(database)


def test_a_lost_connection_is_a_lost_id(new_database: Callable[[str], Database]) -> None:
    database = new_database("postgresql")
    ids = executors.claim(database, 1)
    cut_connections(database)
    assert not ids.still_held()
    ids.release()


@pytest.mark.slow("starts two stores")
def test_two_stores_serve_one_database_under_two_ids(database: Database, public_folder: Path) -> None:
    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url) as first,
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url) as second,
    ):
        ids = [store.client.get("/healthz").json()["executor_id"] for store in (first, second)]
        assert ids == ["worker-1", "worker-2"]
        key = new_key()
        first.buy(key)
        assert second.pay(key).status_code == 200
