"""What happens at a crash point. A kill is the first of these, and the one that the others are compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from widget_store.crashtest.application import Line
from widget_store.system.processes import die


class StepFailed(Exception):
    """A crash test has made a step fail, once."""


class Fault(Protocol):
    """What happens at a crash point. It crosses to the process of the application, so it must be picklable."""

    @property
    def name(self) -> str:
        """As the command takes it."""

    @property
    def is_like_undisturbed(self) -> bool:
        """Whether a right application ends as it does without any fault."""

    def fits(self, point: str) -> bool:
        """Whether it can happen at this crash point."""

    def strike(self, line: Line) -> Callable[[], None]:
        """What the process does at the point."""


@dataclass(frozen=True)
class Kill:
    """The process ends, as in a power cut."""

    name: str = "kill"
    is_like_undisturbed: bool = True

    def fits(self, point: str) -> bool:
        """Everywhere."""
        return bool(point)

    def strike(self, line: Line) -> Callable[[], None]:
        """Nobody is told: the test sees that the process is dead."""
        del line
        return die


@dataclass(frozen=True)
class Fail:
    """The step raises an exception, once: before its transaction is committed, or where its body begins."""

    name: str = "fail"
    is_like_undisturbed: bool = False  # the workflow may end otherwise: only `check` knows how it should

    def fits(self, point: str) -> bool:
        """Within a step, before its work is done."""
        *_, phase, side = point.split("/")
        return phase in {"body", "effect"} and side.startswith("before") and not _is_nobodys(point)

    def strike(self, line: Line) -> Callable[[], None]:
        """The exception goes up through the step, as its own would."""

        def fail() -> None:
            line.tell("struck")
            raise StepFailed("the crash test made this step fail, once")

        return fail


@dataclass(frozen=True)
class Pause:
    """The process waits at the point, while the test does something to the world around it.

    Attributes:
        name: `database crash` crashes the database server, which recovers; `take over` lets a second executor recover
            the workflows that are under way, while the first one still lives.
    """

    name: str
    is_like_undisturbed: bool = True

    def fits(self, point: str) -> bool:
        """Everywhere."""
        return bool(point)

    def strike(self, line: Line) -> Callable[[], None]:
        """It tells, and waits."""
        return line.wait


DATABASE_CRASH, TAKE_OVER = Pause("database crash"), Pause("take over")
FAULTS: dict[str, Fault] = {fault.name: fault for fault in (Kill(), Fail(), DATABASE_CRASH, TAKE_OVER)}
"""The kinds of faults, by their names."""


def _is_nobodys(point: str) -> bool:
    """Whether a commit belongs to no step."""
    return "." not in point.split("/")[1]
