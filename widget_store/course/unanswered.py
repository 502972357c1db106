"""A customer who will never be answered: found as soon as it is sure, and not when the time is over."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from widget_store.course.checks import Wrong
from widget_store.crashtest.looking import at_rest, count_workflows, looking_at
from widget_store.crashtest.run import Rig, run
from widget_store.crashtest.workload import App
from widget_store.databases import Database
from widget_store.databases.throwaway import open_databases
from widget_store.lab.processes import lab_processes
from widget_store.lab.scenarios import Scenario
from widget_store.lab.store_workload import StoreWorkload
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
        AppFileError: When the file can't be used.
    """
    workload = _Watched(scenario, file)
    with (
        open_databases(read_settings()) as databases,
        closing(Rig(lab_processes(), databases, _TIME_LIMIT_SECONDS)) as rig,
        ThreadPoolExecutor(1) as player,
    ):
        rig.prepare(workload)
        played = player.submit(run, rig, workload)
        played.add_done_callback(lambda _played: workload.is_told.set())
        try:
            silence = workload.silence()
        finally:
            rig.end()
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


class _Watched(StoreWorkload):
    """A scenario in which somebody else watches the database while the customers wait for their answers."""

    def __init__(self, scenario: Scenario, app_file: Path) -> None:
        super().__init__(scenario, app_file)
        self.is_told = threading.Event()
        self._database: list[Database] = []  # in a list, as a run has a copy of this

    def drive(self, app: App) -> None:
        """Play the scenario, and note that all customers were answered."""
        self._database.append(self.place.database)
        super().drive(app)
        self.is_told.set()

    def silence(self) -> _Silence | None:
        """What has been so for a while, and will stay so; None when the customers have been told all they wanted."""
        last, since = None, time.monotonic()
        while not self.is_told.wait(_LOOK_AGAIN_SECONDS):
            now = self._now()
            if now is None or now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > _SURE_AFTER_SECONDS:
                return now
        return None

    def _now(self) -> _Silence | None:
        if not self._database:
            return None
        with looking_at(self._database[0]) as connection:
            unread = tuple(connection.scalars(sa.text(_UNREAD)))
            has_ended = count_workflows(connection) > 0 and at_rest(connection)
            return _Silence(unread) if unread or has_ended else None
