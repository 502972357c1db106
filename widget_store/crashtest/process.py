"""The process that is killed, the one that takes its place, and so on: the lives of one application in one run."""

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from widget_store.crashtest import child
from widget_store.crashtest.application import Application, Place
from widget_store.crashtest.faults import Fault, Kill
from widget_store.system.processes import Connection, Processes, start

LOOK_AGAIN_SECONDS = 0.01
_LAST_POINT_WITHIN_SECONDS = 2.0
_QUIET_SECONDS = 0.2
_DEATHS_OF_ITS_OWN = 5
_IF_IT_BLOCKS = 'What it does for ever, such as to serve, belongs behind `if __name__ == "__main__":`.'
_LAST_LINES = 4_000  # bytes of what an application has printed


class Hung(Exception):
    """The time limit has passed."""


class Stopped(Exception):
    """The crash test was told to stop."""


class CanNotStart(Exception):
    """The application dies by itself whenever it is started."""


class CallFailed(Exception):
    """The application was asked for something, and raised."""


@dataclass(eq=False)  # each is itself
class Lives:
    """An application's process, and the one after it, and so on, on one database.

    Attributes:
        application: What to run.
        place: Where.
        points: Where each process is to be struck: the first at the first point, and so on. None in a recording.
        processes: Where the processes come from.
        stop: Set when the crash test ends.
        deadline: When the run is given up, by the monotonic clock.
        printed_into: The file for what the processes print.
        fault: What happens at the points.
        on_death: Called when a process is dead, before the next one is started.
        on_strike: Called while a process waits at its point.
        lives: The crash points that each process has gone through.
        deaths_of_its_own: How many of the processes have died, and not by our hand.
        said: Why the last of them did, in words.
    """

    application: Application
    place: Place
    points: tuple[str, ...]
    processes: Processes
    stop: threading.Event
    deadline: float
    printed_into: Path
    fault: Fault = field(default_factory=Kill)
    on_death: Callable[[], None] = lambda: None
    on_strike: Callable[[], None] = lambda: None
    lives: list[list[str]] = field(default_factory=list)
    deaths_of_its_own: int = 0
    said: str = ""

    def __post_init__(self) -> None:
        self._to_come = list(self.points)
        self._one_at_a_time = threading.RLock()  # two clients may notice a death at once
        self._life: _Life | None = None

    @property
    def points_left(self) -> int:
        """How many of the points no process has come to yet."""
        return len(self._to_come)

    @property
    def reached(self) -> list[str]:
        """The crash points that the last process went through."""
        return self.lives[-1] if self.lives else []

    @property
    def printed(self) -> str:
        """The last lines that the processes have printed."""
        with contextlib.suppress(OSError), self.printed_into.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_LINES))
            return file.read().decode("utf-8", "replace")
        return ""

    def port(self) -> int:
        """The port where the application answers, 0 for one without HTTP; a dead one is started first.

        Raises:
            Stopped: When the crash test ends.
            Hung: When the time limit has passed.
            CanNotStart: When it dies again and again, not by our hand.
        """
        with self._one_at_a_time:
            while True:
                self._check_time()
                life = self._life = self._life or self._begin()
                self._hear(life, wait_for_seconds=0.0 if life.is_ready else 0.05)
                if not life.process.is_alive():
                    self._bury(life)
                elif life.is_ready:
                    return life.port

    def seconds_left(self) -> float:
        """How long an answer may still take."""
        return max(0.1, self.deadline - time.monotonic())

    def call(self, what: str, *arguments: Any) -> Any:
        """Ask the application for something, again and again until one of its processes has done it.

        Raises:
            CallFailed: When it raised.
        """
        with self._one_at_a_time:
            while True:
                self.port()
                life = self._life
                if life is not None and (answer := self._ask(life, what, arguments)) is not None:
                    done, value = answer
                    if done:
                        return value
                    raise CallFailed(value)

    def settle(self) -> bool:
        """Let the process reach what comes right after the last commit; return whether it died there."""
        with self._one_at_a_time:
            life = self._life
            if life is None:
                return False
            deadline = time.monotonic() + _LAST_POINT_WITHIN_SECONDS
            while life.process.is_alive() and time.monotonic() < deadline and self._has_more_to_come(life):
                life.process.join(LOOK_AGAIN_SECONDS)
            self._hear(life)
            if died := not life.process.is_alive():
                self._bury(life)
            return died

    def kill(self) -> None:
        """End the process, whoever waits for its answer: nothing more will be asked of it."""
        life = self._life
        with contextlib.suppress(ValueError):  # it is being let go of in this instant
            if life is not None and life.process.pid is not None:  # None: it is about to start, and looks then
                life.process.kill()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._one_at_a_time:
            if self._life is not None and self._life.process.pid is not None:  # None: Ctrl-C kept it from starting
                self._life.process.kill()
                self._let_go(self._life)

    def _check_time(self) -> None:
        if self.stop.is_set():
            raise Stopped
        if time.monotonic() > self.deadline:
            raise Hung

    def _begin(self) -> "_Life":
        armed = self._to_come[0] if self._to_come else None
        ours, theirs = self.processes.Pipe()
        process = self.processes.Process(
            target=child.live,
            args=(child.Errand(self.application, self.place, self.printed_into, armed, self.fault), theirs),
        )
        life = _Life(process, ours)
        self.lives.append(life.reached)
        self._life = life  # before it is started: Ctrl-C may come in between
        start(process)
        theirs.close()
        life.reader.start()
        if self.stop.is_set():
            self.kill()
        return life

    def _ask(self, life: "_Life", what: str, arguments: tuple[Any, ...]) -> tuple[bool, Any] | None:
        """What it answers; None when it dies before."""
        life.answers.clear()
        with contextlib.suppress(OSError):
            life.pipe.send((what, arguments))
        while not life.answers:
            self._check_time()
            alive = life.process.is_alive()
            self._hear(life, wait_for_seconds=0.05)
            if not alive and not life.answers:
                return None
        return life.answers[0]

    def _hear(self, life: "_Life", wait_for_seconds: float = 0.0) -> None:
        for kind, what in life.messages(wait_for_seconds):
            if kind == "failed":
                self.said = what
            elif kind == "struck":
                self._to_come.pop(0)
                self.on_strike()
                life.pipe.send(("go on", ()))

    def _has_more_to_come(self, life: "_Life") -> bool:
        """Whether an armed point may still be reached, a commit is not over, or a recording still goes on."""
        known = len(life.reached)
        self._hear(life, wait_for_seconds=_QUIET_SECONDS if not self.points and not life.is_in_a_commit() else 0.0)
        return bool(self._to_come) or life.is_in_a_commit() or len(life.reached) > known

    def _bury(self, life: "_Life") -> None:
        """Note how the process died. Dead where it should be: the next one is armed with the next point."""
        life.reader.join()  # to its last word
        self._hear(life)
        if self._to_come and life.reached and life.reached[-1] == self._to_come[0]:
            self._to_come.pop(0)
        else:
            self.deaths_of_its_own += 1
            if life.process.exitcode == -9 and not self.said:  # SIGKILL, and not ours
                self.said = "it was killed, as the system does when memory is short"
        self._let_go(life)
        self.on_death()
        if self.deaths_of_its_own >= _DEATHS_OF_ITS_OWN:
            raise CanNotStart(self.said or f"the process died by itself {_DEATHS_OF_ITS_OWN} times")

    def _let_go(self, life: "_Life") -> None:
        life.process.join()
        life.process.close()
        life.reader.join()
        self._hear(life)
        life.pipe.close()
        self._life = None


@dataclass
class _Life:
    """One process, and what it has told."""

    process: BaseProcess
    pipe: Connection
    reached: list[str] = field(default_factory=list)
    answers: list[tuple[bool, Any]] = field(default_factory=list)
    is_ready: bool = False
    port: int = 0

    def __post_init__(self) -> None:
        self._inbox: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self.reader = threading.Thread(target=self._read_all, daemon=True)

    def messages(self, wait_for_seconds: float) -> Iterator[tuple[str, Any]]:
        """What came since; waits for the first. What every test needs to know is noted here."""
        with contextlib.suppress(Empty):
            kind, what = self._inbox.get(timeout=wait_for_seconds) if wait_for_seconds else self._inbox.get_nowait()
            while True:
                if kind == "reached":
                    self.reached.append(what)
                elif kind == "ready":
                    self.is_ready, self.port = True, what
                elif kind in {"answer", "refused"}:
                    self.answers.append((kind == "answer", what))
                else:
                    yield kind, what
                kind, what = self._inbox.get_nowait()

    def is_in_a_commit(self) -> bool:
        """Whether a crash point before a commit was reached, and the one after it was not yet."""
        sides = Counter(point.rpartition("/")[2].partition("#")[0] for point in self.reached)
        return sides["before"] > sides["after"]

    def _read_all(self) -> None:
        """Take all that the process tells, at once: it waits when the pipe is full."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._inbox.put(self.pipe.recv())


def prepare(application: Application, place: Place, *, processes: Processes, printed: Path, within: float) -> str:
    """Let an application fill an empty database, in a process of its own.

    Returns:
        Why it could not, in words; empty when all is well.
    """
    ours, theirs = processes.Pipe()
    process = processes.Process(target=child.prepare, args=(child.Errand(application, place, printed), theirs))
    start(process)
    theirs.close()
    try:
        if not ours.poll(within):
            return f"it was not ready within {within:g} s. {_IF_IT_BLOCKS}"
        kind, what = ours.recv()
        return "" if kind == "ready" else str(what)
    except EOFError:
        return "the process died"
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()
