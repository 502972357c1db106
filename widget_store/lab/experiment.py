"""One crash, looked at closely: what it left in the database, and what recovery made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from widget_store.crashtest.crash_map import timeline, what_is_wrong
from widget_store.crashtest.points import fits
from widget_store.crashtest.results import Result, Verdict
from widget_store.databases import Database
from widget_store.errors import WidgetStoreError
from widget_store.lab.crash_test import single_runs
from widget_store.lab.scenarios import SCENARIOS, Scenario
from widget_store.lab.state import State
from widget_store.plain_text import in_a_line

_CUSTOMER = "anna"  # in every scenario she is the first to buy


class PointNotMet(WidgetStoreError):
    """The scenario does not reach this crash point."""


@dataclass(frozen=True)
class Look:
    """What a database holds while no process of the store is there. Its tables are those of `State`.

    Attributes:
        orders: What `State.orders` returns.
        workflows: What `State.workflows` returns.
        checkpoints: What `State.steps` returns for the checkout of Anna, the first customer.
        books: What `State.books` returns.
        own_tables: What `State.own_tables` returns.
    """

    orders: pd.DataFrame
    workflows: pd.DataFrame
    checkpoints: pd.DataFrame
    books: pd.Series
    own_tables: Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Crash:
    """A scenario in which the store was killed, once or several times. `crash_at` returns it.

    Attributes:
        points: The crash points at which it was killed, in order.
        left: What the database held right after each death, before the recovery: `left[0]` is the first.
        recovered: What it held in the end.
        violations: A sentence for each invariant that is broken in the end; `[]` when all is well.
        story: What each process went through, as text.
        lives: The crash points that each process reached, in order: `lives[1]` are those of the first recovery.
    """

    points: tuple[str, ...]
    left: list[Look]
    recovered: Look
    violations: list[str]
    story: str
    lives: tuple[tuple[str, ...], ...] = ()

    def __repr__(self) -> str:
        points = " then ".join(map(in_a_line, self.points))
        return f"Crash at {points}: {'; '.join(self.violations) or 'every invariant holds'}"


def crash_at(*points: str, story: str | Scenario = "paid", app: str | Path | None = None) -> Crash:
    """Play a scenario on a database of its own, kill the store at a crash point, look, and let it recover.

    Args:
        points: A crash point, or a pattern such as `*/*.mark_order_paid/effect/after`. The first point that fits is
            taken. A second one kills the process that recovers, and so on.
        story: What the customers do: a scenario, or the name of one in `SCENARIOS`.
        app: A file with a checkout of your own; the store's own checkout by default.

    Raises:
        PointNotMet: When the scenario does not reach such a point. The message lists the points that it reaches.
        AppFileError: When the file can't be used.
        KeyError: When there is no scenario with that name.
        DatabaseUnavailable: When the database can't be started or does not answer.
    """
    scenario = SCENARIOS[story] if isinstance(story, str) else story
    looks: list[Look] = []

    def look(database: Database) -> None:
        looks.append(_look(database))

    with single_runs(None if app is None else Path(app)) as runs:
        exact: tuple[str, ...] = ()
        result = runs.play(scenario, exact, look)
        for pattern in points:
            exact = (*exact, _first_like(pattern, result, "recovery" if exact else "scenario"))
            looks.clear()
            result = runs.play(scenario, exact, look)
    if result.verdict == Verdict.NOT_REACHED:
        raise PointNotMet(f"No process reached {' then '.join(exact)} this time. Run it again.")
    *left, recovered = looks
    return Crash(exact, left, recovered, what_is_wrong(result), timeline(result), tuple(map(tuple, result.lives)))


def _first_like(pattern: str, result: Result, who: str) -> str:
    for point in result.reached:
        if fits(point, pattern):
            return point
    if not result.reached:
        raise PointNotMet(f"The scenario ended before any crash point: {'; '.join(result.violations)}")
    by_which = "\n  ".join(dict.fromkeys(result.reached))
    raise PointNotMet(f"The {who} does not reach {pattern}.\nIt reaches:\n  {by_which}")


def _look(database: Database) -> Look:
    state = State(database)
    try:
        return Look(state.orders(), state.workflows(), state.steps(_CUSTOMER), state.books(), state.own_tables())
    finally:
        state.close()
