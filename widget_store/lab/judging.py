"""What judges need: run a learner's file, kill it, and say in a line or two what came of it."""

import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from widget_store.lab.checks import Wrong
from widget_store.lab.crash_map import describe, what_is_wrong
from widget_store.lab.crash_run import Result, Verdict
from widget_store.lab.crash_test import Plan, Report, crash_test
from widget_store.lab.scenarios import SCENARIOS, Scenario

_TIME_LIMIT_SECONDS = 20.0


def try_points(file: Path, *stories: str | Scenario, points: tuple[str, ...] = (), to_the_end: bool = False) -> Report:
    """Play stories with a learner's checkout: undisturbed, and once for each crash point that fits a pattern.

    Args:
        file: The learner's file.
        stories: Scenarios, or their names in `SCENARIOS`.
        points: Patterns of the crash points to try; none by default.
        to_the_end: Go on when a run was not safe. A learner is told of the first only, and waits for those no longer
            than it takes to end what has begun.
    """
    scenarios = tuple(SCENARIOS[story] if isinstance(story, str) else story for story in stories)
    return crash_test(Plan(file, scenarios, points, time_limit=_TIME_LIMIT_SECONDS, to_the_end=to_the_end))


def must_be_safe(report: Report) -> int:
    """The number of crash points that were survived.

    Raises:
        Wrong: With the first run that was not safe: where it was killed, and what was wrong then.
    """
    for failure in report.failures:
        raise Wrong(in_a_line(failure))
    if report.never_met:
        raise Wrong(f"Your checkout never comes by a step like {report.never_met[0].split('/')[1]}.")
    return len(report.results)


def in_a_line(run: Result) -> str:
    """What went wrong in a run."""
    where = f", killed {describe(run.points[-1])}" if run.points else ", with nothing killed"
    if run.verdict == Verdict.HUNG:
        where += ", came to no end"
    return f"In the story “{run.scenario}”{where}: {'; '.join(what_is_wrong(run))}."


def must_be_equal(answer: object, truth: Mapping[str, Any], witness: str = "the database has") -> None:
    """Compare a learner's answer, a dictionary, with what a run has left.

    Args:
        answer: What the learner says.
        truth: What was seen.
        witness: Where it was seen, in words that stand before it.

    Raises:
        Wrong: With each entry that differs.
    """
    if not isinstance(answer, dict) or set(answer) != set(truth):
        raise Wrong(f"The answer is a dictionary with {', '.join(map(repr, truth))}.")
    differences = [
        f"{name}: you said {answer[name]!r}, and {witness} {seen!r}"
        for name, seen in truth.items()
        if not _is_the_same(answer[name], seen)
    ]
    if differences:
        raise Wrong("; ".join(differences) + ".")


def _is_the_same(said: object, seen: object) -> bool:
    """Whether an answer is right, also where it is a number in quotes, or in other letters than the database's."""
    return said == seen or str(said).strip().casefold() == str(seen).casefold()


def function_in(file: Path, name: str) -> Callable[..., Any]:
    """A function that a learner's file defines, to be called here: for what never meets a crash.

    Raises:
        Wrong: When the file can't be run, or defines no such function.
    """
    try:
        function = runpy.run_path(str(file)).get(name)
    except Exception as failure:  # noqa: BLE001 - whatever it was, it is the learner's
        raise Wrong(f"{file.as_posix()} can't be run: {type(failure).__name__}: {failure}") from None
    if not callable(function):
        raise Wrong(f"{file.as_posix()} defines no function {name}.")
    result: Callable[..., Any] = function
    return result
