"""What is tested: where it runs, how it speaks with the test, and what it must be able to do."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from widget_store.databases import Database
from widget_store.plain_text import failure_in_words
from widget_store.system.processes import Connection

if TYPE_CHECKING:
    from widget_store.crashtest.points import CrashPoints


@dataclass(frozen=True)
class Place:
    """Where an application runs.

    Attributes:
        database: Its own tables, and those of DBOS: a copy of this run's.
        run: What tells this run from those beside it. The same in all processes of a run.
        outside: The URL of the service outside of the database, whose calls are recorded; empty for none.
        executor: The executor's id. A process that takes another's place has its id.
    """

    database: Database
    run: str = ""
    outside: str = ""
    executor: str = "crash-test"


class Line:
    """To the test, from a process that runs an application.

    Args:
        pipe: Both ways.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._one_at_a_time = threading.Lock()
        self._go_on = threading.Event()

    def tell(self, kind: str, what: object = "") -> None:
        """Send word. `ready` comes with the port of an application that serves HTTP, or 0."""
        with self._one_at_a_time:
            self._pipe.send((kind, what))

    def wait(self) -> None:
        """Tell that the armed point is reached, and wait until the test has done there what it wants to do."""
        self.tell("struck")
        self._go_on.wait()

    def answer(self, do: Callable[[str, tuple[Any, ...]], object]) -> None:
        """Do what the test asks for, until it hangs up."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                what, arguments = self._pipe.recv()
                if what == "go on":
                    self._go_on.set()
                else:  # beside: at a crash point in the midst of it, it may have to be told to go on
                    threading.Thread(target=self._do, args=(do, what, arguments), daemon=True).start()

    def _do(self, do: Callable[[str, tuple[Any, ...]], object], what: str, arguments: tuple[Any, ...]) -> None:
        try:
            self.tell("answer", do(what, arguments))
        except Exception as failure:  # noqa: BLE001 - whatever it was, the test is told
            self.tell("refused", failure_in_words(failure))


class Application(Protocol):
    """What is tested. It crosses to another process, so it must be picklable, and what can't cross is made there.

    Attributes:
        otherwise: Who makes a commit that belongs to no workflow, where nothing else is known: see `CrashPoints`.
    """

    @property
    def otherwise(self) -> str:
        """Such as `http`."""

    def prepare(self, place: Place, line: Line) -> None:
        """Fill an empty database with what there is before anything happens; then tell `ready`."""

    def serve(self, place: Place, points: "CrashPoints", line: Line) -> None:
        """Run the application: tell `ready`, and answer, for as long as the process lives."""
