"""One run of a workload: struck at crash points, recovered, and judged by what is left."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from widget_store.crashtest import looking, oracle
from widget_store.crashtest.application import Place
from widget_store.crashtest.faults import DATABASE_CRASH, TAKE_OVER, Fault, Kill
from widget_store.crashtest.oracle import Outcome
from widget_store.crashtest.process import LOOK_AGAIN_SECONDS, CanNotStart, Hung, Lives, Stopped, prepare
from widget_store.crashtest.recorder import Log, Recorder
from widget_store.crashtest.results import Result, Verdict
from widget_store.crashtest.workload import App, Workload
from widget_store.databases import Database
from widget_store.databases.throwaway import Databases
from widget_store.errors import AppFileError, WidgetStoreError
from widget_store.plain_text import failure_in_words
from widget_store.system.limits import lack
from widget_store.system.processes import Processes

_LAUNCHED_WITHIN_SECONDS = 60.0
_HEAD_START_SECONDS = 1.0

Look = Callable[[Database], None]
"""Looks at a database while no process of the application is there."""


def look_away(_database: Database) -> None:
    """Look at nothing."""


class Rig:
    """What all runs of a crash test share.

    Args:
        processes: Where the application's processes come from.
        databases: Where each run gets a database of its own.
        time_limit: Seconds after which a run is given up; that of the workload by default.
        fault: What happens at the crash points.
    """

    def __init__(
        self,
        processes: Processes,
        databases: Databases,
        time_limit: float | None = None,
        fault: Fault = Kill(),  # noqa: B008 - it can't change
    ) -> None:
        self.processes = processes
        self.databases = databases
        self.time_limit = time_limit
        self.fault = fault
        self.stop = threading.Event()
        self.recorder = Recorder()
        self.folder = databases.folder
        self._running: set[Lives] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def end(self) -> None:
        """End all runs that are going on, also those whose process does not answer."""
        self.stop.set()
        for lives in list(self._running):
            lives.kill()

    def close(self) -> None:
        """End all, and give back what it has."""
        self.end()
        self.recorder.close()

    @contextlib.contextmanager
    def running(self, lives: Lives) -> Iterator[Lives]:
        """While its processes live, they can be ended with the rest."""
        self._running.add(lives)
        try:
            yield lives
        finally:
            lives.close()
            self._running.discard(lives)

    def prepare(self, workload: Workload) -> None:
        """Fill the database of which each run gets a copy: DBOS's tables, the application's, and the first rows.

        Raises:
            AppFileError: When the application can't be loaded, or has begun to work before it was asked to.
        """
        patience = max(self.time_limit or workload.time_limit, _LAUNCHED_WITHIN_SECONDS)  # the first waits for imports
        with self.databases.template() as database:
            printed = self.folder / "template.out"
            failure = prepare(
                workload.application(), Place(database), processes=self.processes, printed=printed, within=patience
            )
            if failure:
                raise lack(failure) or AppFileError(_with_print(failure, printed))
            with looking.looking_at(database) as connection:
                if begun := looking.count_workflows(connection):
                    raise AppFileError(
                        f"{workload.name}: the application started workflows before it was asked to ({begun}). "
                        "All runs would begin with them. Start them in drive() instead."
                    )
            with database.engine(poolclass=sa.NullPool).begin() as connection:
                workload.set_up(connection)


def run(
    rig: Rig,
    workload: Workload,
    points: tuple[str, ...] = (),
    look: Look = look_away,
    undisturbed: Outcome | None = None,
) -> tuple[Result, Outcome | None]:
    """Make one run: the first process is struck at the first of the points, and so on.

    Args:
        rig: Where processes and databases come from.
        workload: What is asked of the application.
        points: Where to strike.
        look: Called whenever a process has died, before the next one is started; and in the end.
        undisturbed: What a run without any fault has left, to compare with.

    Returns:
        The result, and what is left; None of a run that came to no end.

    Raises:
        Starved: When the machine has not enough for it.
        Stopped: When the crash test ends.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(rig.databases.copy())
        workload = workload.for_one_run(Place(database))
        outside, log = stack.enter_context(rig.recorder.for_a_run(workload.answer))
        place = workload.place = Place(database, run=outside.rpartition("/")[2], outside=outside)
        this = _Run(rig, workload, points, place, log, look)
        with rig.running(this.lives):
            this.play()
        left = this.judge(undisturbed)
        look(database)
        result = Result(
            scenario=workload.name,
            points=points,
            verdict=this.verdict,
            violations=this.violations,
            reached=this.lives.reached,
            seconds=time.monotonic() - started,
            lives=this.lives.lives,
            seen=frozenset(workload.seen),
            printed=this.lives.printed,
        )
        return result, left


@dataclass
class _Run:
    """An application on one database, its deaths, and what is asked of it."""

    rig: Rig
    workload: Workload
    points: tuple[str, ...]
    place: Place
    log: Log
    look: Look
    verdict: Verdict = Verdict.SAFE
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._limit = self.rig.time_limit or self.workload.time_limit
        self.lives = Lives(
            self.workload.application(),
            self.place,
            self.points,
            self.rig.processes,
            self.rig.stop,
            deadline=time.monotonic() + self._limit,
            printed_into=self.rig.folder / f"{self.place.run}.out",
            fault=self.rig.fault,
            on_death=lambda: self.look(self.place.database),
            on_strike=self._meanwhile,
        )

    def play(self) -> None:
        """Ask for everything, and wait for the end."""
        app = App(self.lives, self.place.database, self.rig.databases.check_room)
        with contextlib.ExitStack() as self._others, contextlib.closing(app):
            self._app = app
            try:
                self.workload.before_run(app.connection)
                self._drive(app)
                self._come_to_rest(app)
            except Hung:
                waited_for = self.lives.said or "no answer came, or a workflow did not end"
                self.verdict = Verdict.HUNG
                self.violations.insert(0, f"not finished within {self._limit:g} s: {waited_for}")
            except CanNotStart as death:
                if starved := lack(str(death)):
                    raise starved from None
                self.verdict = Verdict.BROKEN
                self.violations = [f"start: {death}"]

    def judge(self, undisturbed: Outcome | None) -> Outcome | None:
        """Compare what is left with what should be. Return what is left, if the run came to an end."""
        if self.verdict != Verdict.SAFE:
            return None
        left = None
        self.violations[:0] = self._deaths_of_its_own()
        if self.workload.compares:
            database = self.place.database
            left = oracle.outcome(database, self.log.effects, self.workload.ignore)
            self.violations += oracle.failed_workflows(database, self.workload.may_fail)
            if undisturbed is not None and self.rig.fault.is_like_undisturbed:
                self.violations += oracle.differences(undisturbed, left)
        self.violations += [*self.log.failures, *self._broken_rules()]
        if self.violations:
            self.verdict = Verdict.BROKEN
        elif self.lives.points_left:
            self.verdict = Verdict.NOT_REACHED
        return left

    def _drive(self, app: App) -> None:
        try:
            self.workload.drive(app)
        except (Hung, Stopped, CanNotStart, WidgetStoreError):
            raise
        except Exception as failure:  # noqa: BLE001 - whatever it was, it is told
            self.violations.append(f"drive: raised {failure_in_words(failure)}")

    def _come_to_rest(self, app: App) -> None:
        self._stop_the_clock(app)
        app.wait()
        if self.lives.settle():
            self.lives.port()  # with nothing left to do, a recovered process must do no harm either
            app.wait()

    def _stop_the_clock(self, app: App) -> None:
        """With a schedule that goes on, a run would have no end."""
        if looking.has_schedules(app.connection):
            for schedule in app.client.list_schedules():
                app.client.pause_schedule(schedule["schedule_name"])

    def _broken_rules(self) -> Iterator[str]:
        with looking.looking_at(self.place.database) as connection:
            try:
                yield from self.workload.check(connection) or ()
            except Exception as failure:  # noqa: BLE001 - somebody's own rule, and its mistake is told as what it is
                yield f"check: raised {failure_in_words(failure)}"

    def _deaths_of_its_own(self) -> Iterator[str]:
        if deaths := self.lives.deaths_of_its_own:
            times = "once" if deaths == 1 else f"{deaths} times"
            yield f"process: it died by itself, {times}: {self.lives.said or 'it printed no reason'}"

    def _meanwhile(self) -> None:
        """While the process waits at its point: what the fault does to the world around it."""
        if self.rig.fault == DATABASE_CRASH:
            self.rig.databases.crash()
            self._app.connect_again()
        elif self.rig.fault == TAKE_OVER:
            self._let_another_take_over()

    def _let_another_take_over(self) -> None:
        """A second executor recovers what the first one is at, as when that one was taken for dead.

        The first one may wait within a transaction that has locked what the second one needs. Then it gets a head
        start only, and both go on at once.
        """
        second = Lives(
            self.workload.application(),
            replace(self.place, executor=f"{self.place.executor}-2"),
            (),
            self.rig.processes,
            self.rig.stop,
            self.lives.deadline,
            printed_into=self.rig.folder / f"{self.place.run}-2.out",
        )
        self._others.enter_context(self.rig.running(second))
        second.port()
        recovery = threading.Thread(target=self._recover, daemon=True)
        recovery.start()
        recovery.join(_HEAD_START_SECONDS)

    def _recover(self) -> None:
        with contextlib.suppress(sa.exc.SQLAlchemyError), looking.asking_dbos(self.place.database) as client:
            under_way = client.list_workflows(status="PENDING", load_input=False)
            client.resume_workflows([each.workflow_id for each in under_way])
            deadline = time.monotonic() + _HEAD_START_SECONDS
            while client.list_workflows(status=["PENDING", "ENQUEUED"], limit=1) and time.monotonic() < deadline:
                time.sleep(LOOK_AGAIN_SECONDS)


def _with_print(failure: str, printed: Path) -> str:
    with contextlib.suppress(OSError):
        if said := printed.read_text(encoding="utf-8", errors="replace").strip()[-2000:]:
            return f"{failure}\nIt printed:\n{said}"
    return failure
