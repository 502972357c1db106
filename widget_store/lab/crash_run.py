"""One run of a scenario: a store of its own, killed at crash points, started again, and judged by its database."""

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty, SimpleQueue

import httpx
import sqlalchemy as sa

from widget_store.databases import Database
from widget_store.databases.throwaway import Databases
from widget_store.errors import AppFileError, WidgetStoreError
from widget_store.lab import invariants
from widget_store.lab.scenarios import Answer, Scenario
from widget_store.lab.words import status_in_words
from widget_store.plain_text import failure_in_words
from widget_store.schema import OrderStatus
from widget_store.settings import Settings
from widget_store.system.limits import lack
from widget_store.system.processes import Processes, be_silent, end_with_parent, stand_apart, start

_LOOK_AGAIN_SECONDS = 0.01
_LAST_POINT_WITHIN_SECONDS = 2.0
_QUIET_SECONDS = 0.2
_DEATHS_OF_ITS_OWN = 5
_LAUNCHED_WITHIN_SECONDS = 60.0

Look = Callable[[Database], None]
"""Looks at a database while no process of the store is there."""


def _look_away(_database: Database) -> None:
    """Look at nothing."""


class Verdict(StrEnum):
    """What came out of a run."""

    SAFE = "safe"  # killed where it should be, and every invariant holds
    BROKEN = "broken"
    NOT_REACHED = "not_reached"  # the process never came to the crash point: nothing was tried
    HUNG = "hung"  # not done within the time limit


@dataclass(frozen=True)
class Result:
    """One run and its outcome.

    Attributes:
        points: The crash points asked for, in order; none in a recording run.
        violations: A sentence for each.
        reached: The crash points that the last process, the one that was not killed, went through.
        seconds: How long it took.
        lives: The crash points that each process went through, in order; the last of these lists is `reached`.
    """

    scenario: str
    points: tuple[str, ...]
    verdict: Verdict
    violations: list[str]
    reached: list[str]
    seconds: float
    lives: list[list[str]] = field(default_factory=list)

    @property
    def point(self) -> str:
        """The crash points as one name."""
        return " then ".join(self.points)


@dataclass(frozen=True)
class Bench:
    """What all runs of a crash test share.

    Attributes:
        processes: Where the store's processes come from.
        databases: Where each run gets a database of its own.
        app_file: A learner's file; None for the store's own checkout.
        time_limit: Seconds after which a run is given up.
        stop: Set to end all runs that are going on.
    """

    processes: Processes
    databases: Databases
    app_file: Path | None = None
    time_limit: float = 30.0
    stop: threading.Event = field(default_factory=threading.Event)
    _running: "set[_Store]" = field(default_factory=set)

    def end(self) -> None:
        """End all runs that are going on, also those whose process does not answer."""
        self.stop.set()
        for store in list(self._running):
            store.kill()

    def now_running(self, store: "_Store") -> None:
        """Note a store that has a process, to be ended with the rest; at once, if that was a moment ago."""
        self._running.add(store)
        if self.stop.is_set():
            store.kill()

    def gone(self, store: "_Store") -> None:
        """Forget a store that is closed."""
        self._running.discard(store)

    def prepare(self) -> None:
        """Launch the application once, on the database of which each run gets a copy.

        Raises:
            AppFileError: When it can't be launched.
        """
        nothing_happens = Scenario("launch", lambda _customer: None, {})
        with self.databases.template() as database:
            patience = max(self.time_limit, _LAUNCHED_WITHIN_SECONDS)  # the first launch waits for the imports
            store = _Store(self, nothing_happens, database, (), time.monotonic() + patience)
            try:
                store.url()
            except (_Hung, _CanNotStart) as failure:
                words = store.said or f"{self.app_file} did not start: {failure}"
                raise lack(words) or AppFileError(words) from None
            finally:
                store.close()


def authors_violations(
    processes: Processes, app_file: Path | None, database: Database, within_seconds: float = 30.0
) -> list[str]:
    """What the author's own rules say: they live in the application's file, so a process that loads it asks them."""
    if app_file is None:
        return []
    answer, theirs = processes.Pipe(duplex=False)
    judge = processes.Process(target=_judge, args=(app_file, database, theirs))
    start(judge)
    theirs.close()
    try:
        if not answer.poll(within_seconds):
            return [f"invariants of {app_file.name}: no answer within {within_seconds:g} s"]
        found: list[str] = answer.recv()
        return found
    except EOFError:
        return [f"invariants of {app_file.name}: the process that ran them died"]
    finally:
        judge.kill()
        judge.join()
        judge.close()
        answer.close()


def run(
    bench: Bench,
    scenario: Scenario,
    points: tuple[str, ...] = (),
    look: Look = _look_away,
) -> Result:
    """Play a scenario, with a kill at each of the crash points: the first in the first process, and so on.

    Args:
        bench: Where processes and databases come from.
        scenario: What the customers do.
        points: Where to kill.
        look: Called whenever a process has died, before the next one is started; and in the end.

    Raises:
        AppFileError: When the application can't be started at all.
    """
    started = time.monotonic()
    with bench.databases.copy() as database, contextlib.closing(_Run(bench, scenario, points, database, look)) as this:
        verdict, violations = this.play()
        look(database)
        seconds = time.monotonic() - started
        return Result(scenario.name, points, verdict, violations, this.reached, seconds, this.lives)


class _Hung(Exception):
    """The time limit has passed."""


class Stopped(Exception):
    """The crash test was told to stop."""


class _CanNotStart(Exception):
    """The store dies by itself whenever it is started."""


class _Run:
    """A store on one database, its deaths, and its customers: the `Customer` of the scenarios."""

    def __init__(
        self, bench: Bench, scenario: Scenario, points: tuple[str, ...], database: Database, look: Look
    ) -> None:
        self._bench = bench
        self._scenario = scenario
        self._points = points
        self._database = database
        self._deadline = time.monotonic() + bench.time_limit
        self._store = _Store(bench, scenario, database, points, self._deadline)
        self._store.look = look
        self._look = contextlib.ExitStack()
        # Not to be verified, because it is plain HTTP: reading the certificates would take as long as a purchase.
        self._http = self._look.enter_context(httpx.Client(trust_env=False, verify=False))  # noqa: S501
        self._connection = self._look.enter_context(invariants.looking_at(database))
        self._surprises: list[str] = []
        self._told: list[tuple[int, OrderStatus]] = []

    def close(self) -> None:
        self._store.close()
        self._look.close()

    @property
    def reached(self) -> list[str]:
        return self._store.reached

    @property
    def lives(self) -> list[list[str]]:
        return self._store.lives

    def play(self) -> tuple[Verdict, list[str]]:
        self._connection.execute(
            sa.text("UPDATE products SET inventory = :stock, stock_added = :stock"), {"stock": self._scenario.stock}
        )
        try:
            self._scenario.story(self)
            self.wait_for_end()
            if self._store.settle():
                self._store.url()  # with nothing left to do, a recovered process must do no harm either
                self.wait_for_end()
        except _Hung:
            waited_for = self._store.said or "no answer came, or a workflow did not end"
            return Verdict.HUNG, [f"not finished within {self._bench.time_limit:g} s: {waited_for}", *self._surprises]
        except _CanNotStart as death:
            if starved := lack(str(death)):
                raise starved from None
            return Verdict.BROKEN, [f"start: {death}"]
        self._store.close()
        violations = self._violations()
        if violations:
            return Verdict.BROKEN, violations
        return (Verdict.SAFE if self._store.points_left == 0 else Verdict.NOT_REACHED), []

    def _violations(self) -> list[str]:
        bench = self._bench
        return [
            *self._deaths_of_its_own(),
            *self._surprises,
            *invariants.violations(self._connection),
            *self._broken_promises(),
            *(violation for rule in self._scenario.rules for violation in rule(self._connection)),
            *authors_violations(bench.processes, bench.app_file, self._database, bench.time_limit),
        ]

    def _deaths_of_its_own(self) -> Iterator[str]:
        if deaths := self._store.deaths_of_its_own:
            times = "once" if deaths == 1 else f"{deaths} times"
            yield f"process: it died by itself, {times}: {self._store.said or 'it printed no reason'}"

    def _broken_promises(self) -> Iterator[str]:
        """What the scenario was to end with, and what the customers were told, compared with the orders."""
        orders = {row.order_id: row.order_status for row in self._connection.execute(sa.text("SELECT * FROM orders"))}
        ends = Counter(orders.values())
        if ends != Counter(self._scenario.ends):
            yield f"orders: {_in_words(ends)} (should be {_in_words(Counter(self._scenario.ends))})"
        for order_id, promised in self._told:
            if orders.get(order_id) != promised:
                found = status_in_words(orders[order_id]) if order_id in orders else "not there"
                yield f"promises: order {order_id} is {found}, but its customer was told {promised.name}"

    # --- the customers

    def buy(self, key: str) -> Answer:
        return self._ask(f"/checkout/{key}")

    def pay(self, key: str, status: str = "paid") -> Answer:
        answer = self._ask(f"/payment_webhook/{key}/{status}")
        if answer.status == 200 and answer.text.isdecimal():
            end = OrderStatus.DISPATCHED if status == "paid" else OrderStatus.CANCELLED
            self._told.append((int(answer.text), end))
        return answer

    def restock(self) -> Answer:
        return self._ask("/restock")

    def post(self, path: str) -> Answer:
        return self._ask(path)

    def expect(self, answer: Answer, status: int, what: str) -> None:
        if answer.status != status:
            self._surprises.append(f"answers: {what} was answered with {answer.status}, {answer.text!r}")

    def wait_for_end(self) -> None:
        while not invariants.at_rest(self._connection):
            self._store.url()  # whatever is dead must come back for this
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _ask(self, path: str) -> Answer:
        while True:
            url = self._store.url()
            try:
                response = self._http.post(url + path, timeout=max(0.1, self._deadline - time.monotonic()))
            except httpx.TransportError:
                continue
            if response.status_code == 500 and (starved := lack(response.text)):
                raise starved
            self._bench.databases.check_room()
            if response.status_code not in {503, 504}:  # "not now" and "not yet": ask again
                return Answer(response.status_code, response.text)


class _Store:
    """The store's process, and the one after it, and so on."""

    def __init__(
        self, bench: Bench, scenario: Scenario, database: Database, points: tuple[str, ...], deadline: float
    ) -> None:
        self._bench = bench
        self.look: Look = _look_away
        self._settings = Settings.model_construct(
            payment_timeout=scenario.payment_timeout, dispatch_interval=scenario.dispatch_interval
        )
        self._database = database
        self._to_come = list(points)
        self._is_recording = not points
        self._deadline = deadline
        self._one_at_a_time = threading.RLock()  # two customers may notice a death at once
        self._process: BaseProcess | None = None
        self._reader: threading.Thread | None = None
        self._inbox: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._url = ""
        self.deaths_of_its_own = 0
        self.reached: list[str] = []
        self.lives: list[list[str]] = []
        self.said = ""

    @property
    def points_left(self) -> int:
        return len(self._to_come)

    def url(self) -> str:
        """Where the store answers; it is started if it is dead.

        Raises:
            Stopped: When the crash test ends.
            _Hung: When the time limit has passed.
            _CanNotStart: When it dies again and again, not by our hand.
        """
        with self._one_at_a_time:
            while True:
                if self._bench.stop.is_set():
                    raise Stopped
                if time.monotonic() > self._deadline:
                    raise _Hung
                if self._process is None:
                    self._start()
                self._read_messages(wait_for_seconds=0.0 if self._url else 0.05)
                if self._process is not None and not self._process.is_alive():
                    self._bury()
                elif self._url:
                    return self._url

    def settle(self) -> bool:
        """Let the process reach what comes right after the last commit; return whether it died there."""
        with self._one_at_a_time:
            if self._process is None:
                return False
            deadline = time.monotonic() + _LAST_POINT_WITHIN_SECONDS
            while (self._to_come or self._is_in_a_commit() or self._is_still_told()) and time.monotonic() < deadline:
                self._process.join(_LOOK_AGAIN_SECONDS)
                if not self._process.is_alive():
                    break
                self._read_messages()
            if self._process.is_alive():
                self._read_messages()
                return False
            self._bury()
            return True

    def _is_in_a_commit(self) -> bool:
        """Whether a crash point before a commit was reached, and the one after it was not yet."""
        self._read_messages()
        sides = Counter(point.rpartition("/")[2].partition("#")[0] for point in self.reached)
        return sides["before"] > sides["after"]

    def _is_still_told(self) -> bool:
        """Whether a recording has more to come: a point that it lacks would never be tried."""
        known = len(self.reached)
        if self._is_recording:
            self._read_messages(wait_for_seconds=_QUIET_SECONDS)
        return len(self.reached) > known

    def kill(self) -> None:
        """End the process, whoever waits for its answer: nothing more will be asked of it."""
        process = self._process
        with contextlib.suppress(ValueError):  # it is being let go of in this instant
            if process is not None:
                process.kill()

    def close(self) -> None:
        with self._one_at_a_time:
            if self._process is not None and self._process.pid is not None:  # None: Ctrl-C kept it from starting
                self._process.kill()
                self._process.join()
                self._let_go()
            self._bench.gone(self)

    def _start(self) -> None:
        self.reached, self._url = [], ""
        self.lives.append(self.reached)
        armed = self._to_come[0] if self._to_come else None
        messages, theirs = self._bench.processes.Pipe(duplex=False)
        self._process = self._bench.processes.Process(
            target=_serve, args=(armed, self._database, self._settings, self._bench.app_file, theirs)
        )
        start(self._process)
        theirs.close()
        self._reader = threading.Thread(target=_read_all, args=(messages, self._inbox), daemon=True)
        self._reader.start()
        self._bench.now_running(self)

    def _read_messages(self, wait_for_seconds: float = 0.0) -> None:
        with contextlib.suppress(Empty):
            kind, text = self._inbox.get(timeout=wait_for_seconds) if wait_for_seconds else self._inbox.get_nowait()
            while True:
                if kind == "reached":
                    self.reached.append(text)
                elif kind == "ready":
                    self._url = f"http://127.0.0.1:{text}"
                else:
                    self.said = text
                kind, text = self._inbox.get_nowait()

    def _bury(self) -> None:
        """Note how the process died. Dead where it should be: the next one is armed with the next point."""
        if self._reader is not None:
            self._reader.join()  # to its last word
        self._read_messages()
        if self._to_come and self.reached and self.reached[-1] == self._to_come[0]:
            self._to_come.pop(0)
        else:
            self.deaths_of_its_own += 1
            if self._process is not None and self._process.exitcode == -9 and not self.said:  # SIGKILL, and not ours
                self.said = "it was killed, as the system does when memory is short"
        self._let_go()
        self.look(self._database)
        if self.deaths_of_its_own >= _DEATHS_OF_ITS_OWN:
            raise _CanNotStart(self.said or f"the process died by itself {_DEATHS_OF_ITS_OWN} times")

    def _let_go(self) -> None:
        if self._process is not None and self._reader is not None:
            self._process.join()
            self._process.close()
            self._reader.join()
            self._read_messages()
        self._process = self._reader = None
        self._url = ""


def _read_all(messages: Connection, inbox: "SimpleQueue[tuple[str, str]]") -> None:
    """Take all that a process tells, at once: it waits when the pipe is full."""
    with contextlib.closing(messages), contextlib.suppress(EOFError, OSError):
        while True:
            inbox.put(messages.recv())


def _serve(
    armed: str | None, database: Database, settings: Settings, app_file: Path | None, to_test: Connection
) -> None:
    """The whole life of a process that is to be killed."""
    stand_apart()
    end_with_parent()
    be_silent()
    from widget_store.crashes import CrashPoints
    from widget_store.serving.server import Worker, serve

    points = CrashPoints(armed, tell=lambda point: to_test.send(("reached", point)))
    worker = Worker(executor_id="worker-1", database=database, settings=settings, port=0, app_file=app_file)
    try:
        serve(worker, on_ready=lambda port: to_test.send(("ready", str(port))), crash_points=points)
    except WidgetStoreError as failure:
        to_test.send(("failed", str(failure)))
    except Exception as failure:  # noqa: BLE001 - whatever it was, it is the verdict
        to_test.send(("failed", failure_in_words(failure)))
    os._exit(1)


def _judge(app_file: Path, database: Database, to_test: Connection) -> None:
    """Ask the author's rules, in a process of their own."""
    stand_apart()
    end_with_parent()
    be_silent()
    from widget_store.serving.application import load_application

    found = []
    with invariants.looking_at(database) as connection:
        for rule in load_application(app_file).invariants:
            name = getattr(rule, "__name__", "invariant")
            try:
                found += [f"{name}: {violation}" for violation in rule(connection) or ()]
            except Exception as failure:  # noqa: BLE001 - an author's mistake is told as what it is
                found.append(f"{name}: raised {failure_in_words(failure)}")
    to_test.send(found)


def _in_words(ends: "Counter[int | str]") -> str:
    """How many orders there are of each status, in the order of the numbers; a learner may have stored a text there."""
    in_order = sorted(ends.items(), key=lambda end: (isinstance(end[0], str), end[0]))
    return " and ".join(f"{count} {status_in_words(status)}" for status, count in in_order) or "none"
