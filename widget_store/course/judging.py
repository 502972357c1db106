"""What judges need: run a learner's file, kill it, and say in a line or two what came of it."""

import os
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from widget_store.course.checks import Wrong
from widget_store.crashtest.crash_map import describe, what_is_wrong
from widget_store.crashtest.looking import looking_at
from widget_store.crashtest.results import Report, Result, Verdict
from widget_store.databases import Database
from widget_store.lab.crash_test import Plan, Runs, crash_test, single_runs
from widget_store.lab.scenarios import SCENARIOS, Scenario
from widget_store.plain_text import failure_in_words

_TIME_LIMIT_SECONDS = 20.0
_TRIES = 8  # a kill may come to nothing when two workflows happen to go another way

Rule = Callable[[sa.Connection], Iterable[str]]
"""Looks at a database, and returns a sentence for each breach."""


def try_points(file: Path, *stories: str | Scenario, points: tuple[str, ...] = (), to_the_end: bool = False) -> Report:
    """Play scenarios with a learner's checkout: undisturbed, and once for each crash point that fits a pattern.

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
        raise Wrong(f"Your checkout never reaches a crash point like {report.never_met[0]}.")
    return len(report.results)


@dataclass(frozen=True)
class Kill:
    """A run that is killed, and what must be true of it.

    Attributes:
        story: What the customers do.
        point: Where it is killed.
        left: What must be true of what it leaves, before anything is recovered.
        meanwhile: SQL that somebody else runs while nobody is there.
        recovered: What must be true in the end; by default, all that must be true of the story.
    """

    story: Scenario
    point: str
    left: Rule = lambda _connection: ()
    meanwhile: str = ""
    recovered: Rule | None = None

    def violation(self, runs: Runs) -> str:
        """Play it. What is wrong, in a line; nothing when all is well."""
        result, looks = self._play(runs)
        for _ in range(_TRIES - 1):
            if result.verdict != Verdict.NOT_REACHED:
                break
            result, looks = self._play(runs)
        if result.verdict == Verdict.NOT_REACHED:  # nothing was tried, so nothing was survived
            return f"Your checkout never reaches the crash point {self.point}."
        *deaths, end = looks
        if deaths and deaths[0]:
            return f"Killed {describe(self.point)}: {'; '.join(deaths[0])}."
        if self.recovered is None:
            return "" if result.verdict == Verdict.SAFE else in_a_line(result)
        return "; ".join(end)

    def _play(self, runs: Runs) -> tuple[Result, list[list[str]]]:
        looks: list[list[str]] = []
        return runs.play(self.story, (self.point,), partial(self._look, looks)), looks

    def _look(self, looks: list[list[str]], database: Database) -> None:
        rule = self.recovered if looks and self.recovered is not None else self.left
        with looking_at(database) as connection:
            if self.meanwhile and not looks:
                connection.execute(sa.text(self.meanwhile))
            looks.append(list(rule(connection)))


def must_survive(file: Path, kills: Sequence[Kill]) -> int:
    """The number of the kills, all of which a learner's checkout survived.

    Raises:
        Wrong: With the first that was not survived, or that left what must not be, if only for a moment.
    """
    with single_runs(file, _TIME_LIMIT_SECONDS) as runs:
        threads = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            for violation in threads.map(lambda kill: kill.violation(runs), kills):
                if violation:
                    raise Wrong(violation)
        finally:
            runs.close()
            threads.shutdown(cancel_futures=True)
    return len(kills)


def in_a_line(run: Result) -> str:
    """What went wrong in a run."""
    where = f"killed {describe(run.points[-1])}" if run.points else "without a crash"
    if run.verdict == Verdict.HUNG:
        where += ", it did not finish"
    return f"In the scenario “{run.scenario}”, {where}: {'; '.join(what_is_wrong(run))}."


def must_be_equal(answer: object, truth: Mapping[str, Any], witness: str = "the database has") -> None:
    """Compare a learner's answer, a dictionary, with what a run has left.

    What was seen is not told: the solution has it, for those who want to see it.

    Args:
        answer: What the learner says.
        truth: What was seen.
        witness: Where it was seen, in words that stand before it.

    Raises:
        Wrong: With each entry that differs, and whether the others are right.
    """
    if not isinstance(answer, dict) or set(answer) != set(truth):
        raise Wrong(f"The answer must be a dictionary with these keys: {', '.join(map(repr, truth))}.")
    differences = [
        f"{name}: you said {answer[name]!r}, but {witness} something else"
        for name, seen in truth.items()
        if not _is_the_same(answer[name], seen)
    ]
    if differences:
        rest = " The rest is right." if len(differences) < len(truth) else ""
        raise Wrong(f"{'; '.join(differences)}.{rest}")


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
        raise Wrong(f"{file.as_posix()} can't be run: {failure_in_words(failure)}") from None
    if not callable(function):
        raise Wrong(f"{file.as_posix()} defines no function {name}. Define one.")
    result: Callable[..., Any] = function
    return result
