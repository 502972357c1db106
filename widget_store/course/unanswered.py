"""A customer who will never be answered: found as soon as it is sure, and not when the time is over."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from widget_store.course.checks import Wrong
from widget_store.databases import Database
from widget_store.databases.throwaway import Databases, open_databases
from widget_store.lab import invariants
from widget_store.lab.crash_run import Bench, run
from widget_store.lab.processes import lab_processes
from widget_store.lab.scenarios import Customer, Scenario
from widget_store.settings import read_settings

_TIME_LIMIT_SECONDS = 20.0
_SURE_AFTER_SECONDS = 3.0  # a message is received at once, and so is an event
_LOOK_AGAIN_SECONDS = 0.1
_UNREAD = "SELECT DISTINCT topic FROM dbos.notifications WHERE NOT consumed ORDER BY topic"


def must_be_answered(file: Path, scenario: Scenario, otherwise: str) -> None:
    """Play a scenario once, without a crash, as long as an answer can come.

    None can come when a message lies unread, or when no workflow runs any more, and the customer still waits. A run
    that is judged would go on until its time is over. What is wrong in another way is left to those runs.

    Args:
        file: The learner's file.
        scenario: What the customers do. Its workflows must not pause for so long that a message may lie unread.
        otherwise: What is wrong when no workflow runs any more.

    Raises:
        Wrong: When no answer can come.
    """
    with open_databases(read_settings()) as given:
        databases, is_told = _Seen(given), threading.Event()
        bench = Bench(lab_processes(), databases, file, _TIME_LIMIT_SECONDS)
        bench.prepare()
        with ThreadPoolExecutor(1) as player:
            played = player.submit(run, bench, replace(scenario, story=_that_tells(scenario, is_told)))
            played.add_done_callback(lambda _played: is_told.set())
            try:
                silence = _silence(databases, is_told)
            finally:
                bench.end()
    if silence is not None:
        raise Wrong(f"In the scenario “{scenario.name}”, {silence.in_words() or otherwise}")


@dataclass(frozen=True)
class _Silence:
    """Nothing more will happen, and these are the topics of messages that nobody has received."""

    unread: tuple[str, ...]

    def in_words(self) -> str:
        if not self.unread:
            return ""
        topics = " and ".join(map(repr, self.unread))
        return f"a message on the topic {topics} lies unread: no DBOS.recv waits for this topic."


class _Seen:
    """Databases of a crash test, of which the newest copy can be looked at."""

    def __init__(self, databases: Databases) -> None:
        self.name = databases.name
        self.template, self.check_room = databases.template, databases.check_room
        self._copy = databases.copy
        self.newest: Database | None = None

    @contextlib.contextmanager
    def copy(self) -> Iterator[Database]:
        with self._copy() as database:
            self.newest = database
            try:
                yield database
            finally:
                self.newest = None


def _that_tells(scenario: Scenario, is_told: threading.Event) -> Callable[[Customer], None]:
    def story(customer: Customer) -> None:
        scenario.story(customer)
        is_told.set()

    return story


def _silence(databases: _Seen, is_told: threading.Event) -> _Silence | None:
    """What has been so for a while, and will stay so; None when the customers have been told all they wanted."""
    last, since = None, time.monotonic()
    while not is_told.wait(_LOOK_AGAIN_SECONDS):
        now = _now(databases.newest)
        if now is None or now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > _SURE_AFTER_SECONDS:
            return now
    return None


def _now(database: Database | None) -> _Silence | None:
    if database is None:
        return None
    with invariants.looking_at(database) as connection:
        unread = tuple(connection.scalars(sa.text(_UNREAD)))
        return _Silence(unread) if unread or invariants.at_rest(connection) else None
