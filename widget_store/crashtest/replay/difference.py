"""Where the new code first differs from a stored workflow, told from what it asked for."""

import queue
import time
from dataclasses import dataclass

from widget_store.crashtest.replay.asked import SLEEP, WAITS, Differs, Ended, Event, NotRecorded, Replayed, Watch
from widget_store.crashtest.replay.stored import Result, StoredWorkflow
from widget_store.plain_text import failure_in_words, in_a_line

_SETTLED_AFTER_SECONDS = 0.5  # a sibling of a step that stopped may still ask for its own


@dataclass(frozen=True)
class Difference:
    """The first thing that differs.

    Attributes:
        step: The step's number, from 1; None when no step differs, but how the workflow begins or ends.
        recorded: What is stored.
        asked: What the new code does instead.
    """

    step: int | None
    recorded: str
    asked: str

    def __str__(self) -> str:
        where = "" if self.step is None else f"step {self.step}: "
        return in_a_line(f"{where}recorded: {self.recorded}; the new code {self.asked}", 1_000)


def compare(watch: Watch, workflow: StoredWorkflow, time_limit: float) -> tuple[int, Difference | None]:
    """Replay a stored workflow.

    Args:
        watch: The launched DBOS.
        workflow: It is in the throw-away database.
        time_limit: Seconds that it has to come to its end, or to the end of what is recorded.

    Returns:
        How many of its steps the new code asked for, too, and the first difference.
    """
    try:
        replayed = watch.start(workflow)
    except Exception as failure:  # noqa: BLE001 - also what reading the application's own classes raises
        return 0, Difference(None, f"the workflow `{workflow.name}`", f"can't run it: {failure_in_words(failure)}")
    last = _last_event(watch, replayed, time_limit)
    found = _Comparison(watch, replayed).difference(last)
    if last is None:
        found = Difference(None, _steps(len(workflow.steps)), f"does not come to their end within {time_limit:g} s")
    return len(workflow.steps) - len(replayed.rest), found


def _last_event(watch: Watch, replayed: Replayed, time_limit: float) -> Event | None:
    """What ends the replay of a workflow; None when nothing does."""
    until = time.monotonic() + time_limit
    stopped: NotRecorded | None = None
    while True:
        patience = until - time.monotonic() if stopped is None else _SETTLED_AFTER_SECONDS
        try:
            event = replayed.events.get(timeout=max(0.0, patience))
        except queue.Empty:
            return stopped
        if isinstance(event, Differs | Ended):
            return event
        if isinstance(event, NotRecorded):
            stopped = stopped or event
        if stopped and not (replayed.rest and watch.is_asynchronous(replayed.stored)):
            return stopped


def _steps(number: int) -> str:
    return f"{number} step{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class _Comparison:
    watch: Watch
    replayed: Replayed

    def difference(self, last: Event | None) -> Difference | None:
        match last:
            case Differs(number, recorded, asked):
                return Difference(number, f"`{recorded}`", f"asks for `{asked}`")
            case NotRecorded(number, name):
                return self._where_the_record_ends(number, name)
            case Ended(result):
                return self._where_the_workflow_ends(result)
            case _:
                return None

    def _where_the_record_ends(self, number: int, name: str) -> Difference | None:
        stored, rest = self.replayed.stored, self.replayed.rest
        if stored.is_finished and not rest:
            return Difference(number, "the end of the workflow", f"goes on with `{name}`")
        if name in WAITS:
            rest.pop(number + 1, None)  # DBOS writes the end of its waiting before it waits
        if not rest or self.watch.is_asynchronous(stored):  # there, steps end in another order than they began
            return None
        first = min(rest)
        timeout = ", the timeout of a wait" if rest[first].name == SLEEP and first == number + 1 else ""
        return Difference(first, f"`{rest[first].name}`{timeout}", f"asks for `{name}` as step {number}")

    def _where_the_workflow_ends(self, result: Result) -> Difference | None:
        stored, rest = self.replayed.stored, self.replayed.rest
        how = self._how_it_ends(result)
        if rest:
            return Difference(min(rest), f"`{rest[min(rest)].name}`", f"{how} before it")
        if stored.is_finished:
            same = self._same(stored.result, result)
            return None if same else Difference(None, f"it {self._how_it_ends(stored.result)}", how)
        if result["error"] is None or any(self._same(step.result, result) for step in stored.steps.values()):
            return None  # it was killed right before its end was written
        return Difference(None, f"{_steps(len(stored.steps))}, and no end", how)

    def _how_it_ends(self, result: Result) -> str:
        value = self.watch.read(result)
        return (
            f"raises {failure_in_words(value)}" if result["error"] is not None else f"returns {in_a_line(repr(value))}"
        )

    def _same(self, one: Result, other: Result) -> bool:
        if (one["error"] is None) != (other["error"] is None):
            return False
        if (one["output"], one["error"]) == (other["output"], other["error"]):
            return True
        values = self.watch.read(one), self.watch.read(other)
        if one["error"] is not None:
            return failure_in_words(values[0]) == failure_in_words(values[1])
        return bool(values[0] == values[1])
