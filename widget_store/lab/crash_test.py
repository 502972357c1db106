"""Every crash point of a workflow, one run each.

The method is bounded-exhaustive crash testing: record where a run commits, then kill one run at each of these places,
recover it, and look at what is left (as ALICE and CrashMonkey do for file systems, and SQLite's tests with "fail the
N-th operation, for N = 1, 2, …").

Pillai and others, "All File Systems Are Not Created Equal", OSDI 2014; Mohan and others, "Finding Crash-Consistency
Bugs with Bounded Black-Box Crash Testing", OSDI 2018; https://sqlite.org/testing.html, section 3.3.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from widget_store.crashes import fits
from widget_store.databases.throwaway import open_databases
from widget_store.lab.crash_run import Bench, Result, Verdict, run
from widget_store.lab.processes import lab_processes
from widget_store.lab.scenarios import SCENARIOS, Scenario
from widget_store.settings import Settings, read_settings
from widget_store.system.limits import of_a_crash_test, require

_TRIES = 8
"""A second crash may come to nothing, when recovery happens to go another way: it is tried again before it is told."""


_ALL = ("*",)


@dataclass(frozen=True)
class Report:
    """The results of a crash test, in the order of the scenarios and their points.

    Attributes:
        recorded: The run of each scenario in which nothing was killed; its `reached` are the scenario's crash points.
        results: A run for each crash point, or pair of them.
        seconds: How long all of it took.
        app_file: The learner's file that was tested; None for the store's own checkout.
        never_met: The patterns of crash points that were asked for, and that no scenario reached.
    """

    recorded: list[Result] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0
    app_file: Path | None = None
    never_met: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[Result]:
        """Every run that is not safe."""
        return [result for result in [*self.recorded, *self.results] if result.verdict != Verdict.SAFE]

    def as_json(self) -> dict[str, Any]:
        """As `widget-store crash-test --json` prints it. A run without a crash is there only if it failed."""
        unsafe = [result for result in self.recorded if result.verdict != Verdict.SAFE]
        return {
            "points": [
                {
                    "scenario": result.scenario,
                    "point": result.point,
                    "verdict": result.verdict.value,
                    "violations": result.violations,
                }
                for result in [*unsafe, *self.results]
            ]
            + [
                {"scenario": "*", "point": pattern, "verdict": Verdict.NOT_REACHED.value, "violations": []}
                for pattern in self.never_met
            ],
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Plan:
    """What is to be tested.

    Attributes:
        app_file: A learner's file; None for the store's own checkout.
        scenarios: Which scenarios; all of them by default.
        points: Patterns of crash points; a point that matches one of them is tried.
        pairs: Also kill the recovery from each crash, right before each of its own commits. Only in a test that goes
            on to the end.
        jobs: How many runs go on at a time.
        time_limit: Seconds after which a run is given up as hung.
        to_the_end: Go on when a run was not safe. Otherwise no other is begun then, and there are no results behind
            the first that was not.
    """

    app_file: Path | None = None
    scenarios: tuple[Scenario, ...] = tuple(SCENARIOS.values())
    points: tuple[str, ...] = _ALL
    pairs: bool = False
    jobs: int = os.cpu_count() or 1
    time_limit: float = 30.0
    to_the_end: bool = True

    def wanted(self, scenario: Scenario, points: Iterable[str]) -> list[str]:
        """Those of the points that are to be tried."""
        return [
            point
            for point in points
            if fits(point, scenario.only) and any(fits(point, pattern) for pattern in self.points)
        ]


def crash_test(
    plan: Plan,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Report:
    """Run each scenario undisturbed, and then once for each of its crash points.

    Args:
        plan: What is to be tested.
        settings: Which kind of database to test on; those of the environment by default.
        progress: Told how many runs are done, and how many there are so far: more are found on the way.

    Raises:
        AppFileError: When the application can't be launched at all.
        DatabaseUnavailable: When there is no database to test on.
        Starved: When the machine has not enough for it.
    """
    require(of_a_crash_test(plan.jobs))
    started = time.monotonic()
    play = _play_to_the_end if plan.to_the_end else _play_to_the_first_unsafe
    processes = lab_processes()
    with open_databases(settings or read_settings()) as databases:
        bench = Bench(processes, databases, plan.app_file, plan.time_limit)
        bench.prepare()
        with _Runs(bench, plan.jobs, progress) as runs:
            for scenario in plan.scenarios:
                runs.add(scenario, ())
            recorded, results = play(plan, runs)
    seconds = time.monotonic() - started
    reached = {each.scenario: each.reached for each in recorded}
    wanted = [point for each in plan.scenarios for point in plan.wanted(each, reached[each.name])]
    never_met = [pattern for pattern in plan.points if not any(fits(point, pattern) for point in wanted)]
    return Report(recorded, results, seconds, plan.app_file, never_met)


def _play_to_the_end(plan: Plan, runs: "_Runs") -> tuple[list[Result], list[Result]]:
    """Every run: those of a scenario's crash points as soon as they are recorded."""
    recorded: list[Result] = []
    results: list[Result] = []
    for scenario, result in runs.results():
        (results if result.points else recorded).append(result)
        runs.add_all(scenario, _follow_ups(plan, scenario, result))
    order = _order(plan, recorded)
    return sorted(recorded, key=order), sorted(results, key=order)


def _play_to_the_first_unsafe(plan: Plan, runs: "_Runs") -> tuple[list[Result], list[Result]]:
    """Every recording, and if all are safe, run after run in their order until one is not."""
    by_scenario = _order(plan, [])
    recordings = sorted(runs.results(), key=lambda recording: by_scenario(recording[1]))
    recorded = [result for _, result in recordings]
    if any(result.verdict != Verdict.SAFE for result in recorded):
        return recorded, []
    for scenario, result in recordings:
        runs.add_all(scenario, _follow_ups(plan, scenario, result))
    results: list[Result] = []
    for _, result in runs.results():
        results.append(result)
        if result.verdict != Verdict.SAFE:
            runs.cancel()
    results.sort(key=_order(plan, recorded))
    safe = list(takewhile(lambda result: result.verdict == Verdict.SAFE, results))
    return recorded, results[: len(safe) + 1]  # what else was going on, chance decides


def _follow_ups(plan: Plan, scenario: Scenario, result: Result) -> list[tuple[str, ...]]:
    """The runs to which a run gives rise: one for each crash point it went through."""
    if result.verdict != Verdict.SAFE:
        return []
    if not result.points:
        return [(point,) for point in plan.wanted(scenario, result.reached)]
    if plan.pairs and len(result.points) == 1 and (_begins_a_state(result.points[0]) or plan.points != _ALL):
        return [(*result.points, point) for point in result.reached if _begins_a_state(point)]
    return []


def _begins_a_state(point: str) -> bool:
    """Whether a point is right before a commit: right after the one before it, the database was the same."""
    return point.rpartition("/")[2].partition("#")[0] == "before"


def _order(plan: Plan, recorded: list[Result]) -> Callable[[Result], Any]:
    """A sort key: in the order of the scenarios, and in each in the order in which its points were recorded."""
    scenarios = {scenario.name: place for place, scenario in enumerate(plan.scenarios)}
    points = {(each.scenario, point): place for each in recorded for place, point in enumerate(each.reached)}
    return lambda result: (
        scenarios[result.scenario],
        points.get((result.scenario, result.points[0]), 0) if result.points else 0,
        len(result.points),
    )


class _Runs:
    """Runs side by side; while their results are read, more may be added."""

    def __init__(self, bench: Bench, jobs: int, progress: Callable[[int, int], None]) -> None:
        self._bench = bench
        self._threads = ThreadPoolExecutor(jobs)
        self._progress = progress
        self._waiting: dict[Future[Result], Scenario] = {}
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bench.end()
        self._threads.shutdown(cancel_futures=True)

    def add(self, scenario: Scenario, points: tuple[str, ...]) -> None:
        self._waiting[self._threads.submit(self._run, scenario, points)] = scenario

    def add_all(self, scenario: Scenario, runs: Iterable[tuple[str, ...]]) -> None:
        for points in runs:
            self.add(scenario, points)

    def cancel(self) -> None:
        """Begin no more of those that were added. Begun is, besides those that are going on, all that came before."""
        for future in list(self._waiting):
            if future.cancel():
                del self._waiting[future]

    def results(self) -> Iterator[tuple[Scenario, Result]]:
        while self._waiting:
            self._progress(self._done, self._done + len(self._waiting))
            finished, _ = wait(self._waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                self._done += 1
                yield self._waiting.pop(future), future.result()
        self._progress(self._done, self._done)

    def _run(self, scenario: Scenario, points: tuple[str, ...]) -> Result:
        result = run(self._bench, scenario, points)
        for _ in range(_TRIES - 1):
            if result.verdict != Verdict.NOT_REACHED:
                break
            result = run(self._bench, scenario, points)
        return result
