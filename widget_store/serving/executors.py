"""Executor ids: each running worker of one database has one of its own, and a dead worker's id is free again.

DBOS recovers, at launch, the workflows that were running under the *same* executor id. Two live workers under one id
would run each other's workflows; a restarted worker under a new id would leave its old workflows behind. So the ids are
places in a row, `worker-1`, `worker-2`, …, and a store takes the first that are free, under a lock that ends with the
process that holds it: an advisory lock on PostgreSQL, a file lock beside an SQLite file.
"""

import time
from collections.abc import Collection, Iterable
from itertools import count, islice, takewhile
from pathlib import Path
from typing import ClassVar, Protocol

import fasteners
import psycopg
from sqlalchemy.engine import make_url

from widget_store.databases import Database, make_private_file, until_the_peer_is_lost
from widget_store.errors import StoreRunning

_ADVISORY_CLASS = 0x57494447  # "WIDG": keeps our locks apart from those of other programs on the same database

_GONE_WITHIN_SECONDS = 5.0  # a store whose kernel was restarted a moment ago: its workers end within three
_LOOK_EVERY_SECONDS = 0.1


class ExecutorIds(Protocol):
    """The ids that one store holds. Made by `claim`; they are held until `release`, or until the process dies."""

    ids: list[str]

    def still_held(self) -> bool:
        """Whether the ids are still this store's; a database that was restarted may have given them away."""

    def release(self) -> None:
        """Give the ids back. Does no harm when done twice."""


def claim(database: Database, workers: int) -> ExecutorIds:
    """Take the first free executor ids of a database, one for each worker.

    Raises:
        psycopg.OperationalError: When PostgreSQL does not answer.
    """
    if database.is_sqlite:
        return _FileLocks(database, count(1), workers)
    return _AdvisoryLocks(database, count(1), workers)


def claim_alone(database: Database, workers: int) -> ExecutorIds:
    """Take the very first executor ids of a database, for a store that shares it with no other.

    It waits for stores that are ending: a killed one's session lives a moment longer. Of several that ask at the same
    time, one is given the ids.

    Raises:
        StoreRunning: When another store keeps using the database.
        psycopg.OperationalError: When PostgreSQL does not answer.
    """
    deadline = time.monotonic() + _GONE_WITHIN_SECONDS
    while True:
        claimed = _claim_first(database, workers)
        try:
            if len(claimed.ids) == workers and not any_store_runs(database, claimed.ids):
                return claimed
        except BaseException:
            claimed.release()
            raise
        claimed.release()
        if time.monotonic() > deadline:
            raise StoreRunning(
                "Another store is open on the same database, in a notebook or in a terminal. Close it there (with "
                "store.close(), with the menu Kernel, Shut Down Kernel, or with Ctrl-C), then run this again."
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def claim_those(database: Database, executor_ids: Iterable[str]) -> ExecutorIds:
    """Take those of the executor ids that are free. What is no id of ours is passed over.

    Raises:
        psycopg.OperationalError: When PostgreSQL does not answer.
    """
    places = sorted(place for place in map(_place, executor_ids) if place is not None)
    if database.is_sqlite:
        return _FileLocks(database, places)
    return _AdvisoryLocks(database, places)


def any_store_runs(database: Database, besides: Collection[str] = ()) -> bool:
    """Whether any store, here or on another machine, holds an executor id of this database.

    Args:
        database: Where the ids are held.
        besides: Ids that are not looked at: the caller's own.
    """
    own = {place for place in map(_place, besides) if place is not None}
    if database.is_sqlite:
        return _FileLocks.any_held(database, own)
    return _AdvisoryLocks.any_held(database, own)


def _claim_first(database: Database, workers: int) -> ExecutorIds:
    """The very first ids, in their order; those from the first that is held are left.

    Of several that ask at the same time, one is given `worker-1`, and the others nothing.
    """
    if database.is_sqlite:
        return _FileLocks(database, count(1), workers, in_a_row=True)
    return _AdvisoryLocks(database, count(1), workers, in_a_row=True)


def _executor_id(place: int) -> str:
    return f"worker-{place}"


def _place(executor_id: str) -> int | None:
    name, _, place = executor_id.partition("-")
    return int(place) if name == "worker" and place.isdecimal() else None


class _AdvisoryLocks:
    def __init__(
        self, database: Database, places: Iterable[int], wanted: int | None = None, *, in_a_row: bool = False
    ) -> None:
        self._connection = _connect(database)
        free = (takewhile if in_a_row else filter)(self._try_lock, places)
        self.ids = [_executor_id(place) for place in islice(free, wanted)]

    @staticmethod
    def any_held(database: Database, own: Collection[int] = ()) -> bool:
        with _connect(database) as connection:
            held = connection.execute(
                "SELECT 1 FROM pg_locks JOIN pg_database ON pg_locks.database = pg_database.oid"
                " WHERE locktype = 'advisory' AND classid = %s AND datname = current_database()"
                " AND objid <> ALL(%s) LIMIT 1",
                [_ADVISORY_CLASS, list(own)],
            )
            return held.fetchone() is not None

    def still_held(self) -> bool:
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def release(self) -> None:
        self._connection.close()

    def _try_lock(self, place: int) -> bool:
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [_ADVISORY_CLASS, place]).fetchone()
        return row is not None and bool(row[0])


class _FileLocks:
    # The system keeps a file lock for the whole process: it would grant it a second time, and would drop it as soon as
    # the process closes the file, also through another handle. So what this process holds is not opened again.
    _held_here: ClassVar[set[Path]] = set()

    def __init__(
        self, database: Database, places: Iterable[int], wanted: int | None = None, *, in_a_row: bool = False
    ) -> None:
        self._database = database
        self._locks: dict[Path, fasteners.InterProcessLock] = {}
        free = (takewhile if in_a_row else filter)(self._try_lock, places)
        self.ids = [_executor_id(place) for place in islice(free, wanted)]

    @staticmethod
    def _path(database: Database, place: int) -> Path:
        return Path(f"{make_url(database.url).database}.{_executor_id(place)}.lock")

    @classmethod
    def any_held(cls, database: Database, own: Collection[int] = ()) -> bool:
        for place in count(1):
            if place in own:
                continue
            if not cls._path(database, place).exists():
                return False
            probe = cls(database, [place])
            probe.release()
            if not probe.ids:
                return True
        return False

    def still_held(self) -> bool:
        return True  # a file lock ends with this process and not before

    def release(self) -> None:
        for path, lock in self._locks.items():
            lock.release()
            self._held_here.discard(path)
        self._locks.clear()

    def _try_lock(self, place: int) -> bool:
        path = self._path(self._database, place)
        if path in self._held_here:
            return False
        make_private_file(path)  # which no other account can hold
        lock = fasteners.InterProcessLock(path)
        if not lock.acquire(blocking=False):
            lock.lockfile.close()  # a lock that was not acquired leaves it open
            return False
        self._held_here.add(path)
        self._locks[path] = lock
        return True


def _connect(database: Database) -> psycopg.Connection:
    return database.connect(**until_the_peer_is_lost(database.url))
