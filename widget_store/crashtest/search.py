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
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Self

from widget_store.crashtest import oracle
from widget_store.crashtest.faults import Fault, Kill
from widget_store.crashtest.oracle import Outcome
from widget_store.crashtest.points import fits
from widget_store.crashtest.results import Report, Result, Verdict
from widget_store.crashtest.run import Rig, run
from widget_store.crashtest.workload import Workload
from widget_store.databases.throwaway import open_databases
from widget_store.settings import Settings, read_settings
from widget_store.system.limits import of_a_crash_test, require
from widget_store.system.processes import Processes, warm_processes

_TRIES = 8
"""A second crash may come to nothing, when recovery happens to go another way: it is tried again before it is told."""
ALL = ("*",)
"""The pattern that every crash point fits."""


@dataclass(frozen=True)
class Plan:
    """What is to be tested.

    Attributes:
        workloads: What is asked of an application, which is the same for all of them.
        points: Patterns of crash points; a point that matches one of them is tried.
        pairs: Also kill the recovery from each crash, right before each of its own commits. Only in a test that goes
            on to the end.
        jobs: How many runs go on at a time.
        time_limit: Seconds after which a run is given up as hung; those of the workload by default.
        to_the_end: Go on when a run was not safe. Otherwise no other is begun then, and there are no results behind
            the first that was not.
        fault: What happens at the points.
        target: How the command is told to test this; that of the first workload by default.
    """

    workloads: tuple[Workload, ...]
    points: tuple[str, ...] = ALL
    pairs: bool = False
    jobs: int = os.cpu_count() or 1
    time_limit: float | None = None
    to_the_end: bool = True
    fault: Fault = field(default_factory=Kill)
    target: str | None = None

    def wanted(self, workload: Workload, points: Iterable[str]) -> list[str]:
        """Those of the points that are to be tried."""
        return [
            point
            for point in points
            if fits(point, workload.only)
            and self.fault.fits(point)
            and any(fits(point, pattern) for pattern in self.points)
        ]


def crash_test(
    plan: Plan,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
    processes: Processes | None = None,
) -> Report:
    """Run each workload undisturbed, and then once for each of its crash points.

    Args:
        plan: What is to be tested.
        settings: Which kind of database to test on; those of the environment by default.
        progress: Told how many runs are done, and how many there are so far: more are found on the way.
        processes: Where the application's processes come from; by default, they have imported what a crash test needs.

    Raises:
        AppFileError: When the application can't be loaded or launched.
        DatabaseUnavailable: When there is no database to test on.
        Starved: When the machine has not enough for it.
    """
    require(of_a_crash_test(plan.jobs))
    started = time.monotonic()
    play = _play_to_the_end if plan.to_the_end else _play_to_the_first_unsafe
    processes = processes or warm_processes("widget_store.crashtest.run")
    with (
        open_databases(settings or read_settings()) as databases,
        Rig(processes, databases, plan.time_limit, plan.fault) as rig,
    ):
        rig.prepare(plan.workloads[0])
        with _Runs(rig, plan.jobs, progress) as runs:
            for workload in plan.workloads:
                runs.add(workload, ())
            recorded, results = play(plan, runs)
    return _report(plan, recorded, results, time.monotonic() - started)


def _report(plan: Plan, recorded: list[Result], results: list[Result], seconds: float) -> Report:
    reached = {each.scenario: each.reached for each in recorded}
    wanted = {each.name: plan.wanted(each, reached[each.name]) for each in plan.workloads}
    met = [point for points in wanted.values() for point in points]
    seen = frozenset[str]().union(*(each.seen for each in [*recorded, *results]))
    return Report(
        recorded,
        results,
        seconds,
        target=plan.workloads[0].target if plan.target is None else plan.target,
        never_met=[pattern for pattern in plan.points if not any(fits(point, pattern) for point in met)],
        never_seen=[each for workload in plan.workloads for each in workload.sometimes if each not in seen],
        untried=[name for name, points in wanted.items() if not points and plan.points == ALL],
    )


def _play_to_the_end(plan: Plan, runs: "_Runs") -> tuple[list[Result], list[Result]]:
    """Every run: those of a scenario's crash points as soon as they are recorded."""
    recorded: list[Result] = []
    results: list[Result] = []
    for workload, result in runs.results():
        (results if result.points else recorded).append(result)
        runs.add_all(workload, _follow_ups(plan, workload, result))
    order = _order(plan, recorded)
    return sorted(recorded, key=order), sorted(results, key=order)


def _play_to_the_first_unsafe(plan: Plan, runs: "_Runs") -> tuple[list[Result], list[Result]]:
    """Every recording, and if all are safe, run after run in their order until one is not."""
    by_scenario = _order(plan, [])
    recordings = sorted(runs.results(), key=lambda recording: by_scenario(recording[1]))
    recorded = [result for _, result in recordings]
    if any(result.verdict != Verdict.SAFE for result in recorded):
        return recorded, []
    for workload, result in recordings:
        runs.add_all(workload, _follow_ups(plan, workload, result))
    results: list[Result] = []
    for _, result in runs.results():
        results.append(result)
        if result.verdict != Verdict.SAFE:
            runs.cancel()
    results.sort(key=_order(plan, recorded))
    safe = list(takewhile(lambda result: result.verdict == Verdict.SAFE, results))
    return recorded, results[: len(safe) + 1]  # what else was going on, chance decides


def _follow_ups(plan: Plan, workload: Workload, result: Result) -> list[tuple[str, ...]]:
    """The runs to which a run gives rise: one for each crash point it went through."""
    if result.verdict != Verdict.SAFE:
        return []
    if not result.points:
        return [(point,) for point in plan.wanted(workload, result.reached)]
    if plan.pairs and len(result.points) == 1 and (_begins_a_state(result.points[0]) or plan.points != ALL):
        return [(*result.points, point) for point in result.reached if _begins_a_state(point)]
    return []


def _begins_a_state(point: str) -> bool:
    """Whether a point is right before a commit: right after the one before it, the database was the same."""
    return point.rpartition("/")[2].partition("#")[0] == "before"


def _order(plan: Plan, recorded: list[Result]) -> Callable[[Result], Any]:
    """A sort key: in the order of the workloads, and in each in the order in which its points were recorded."""
    workloads = {workload.name: place for place, workload in enumerate(plan.workloads)}
    points = {(each.scenario, point): place for each in recorded for place, point in enumerate(each.reached)}
    return lambda result: (
        workloads[result.scenario],
        points.get((result.scenario, result.points[0]), 0) if result.points else 0,
        len(result.points),
    )


class _Runs:
    """Runs side by side; while their results are read, more may be added."""

    def __init__(self, rig: Rig, jobs: int, progress: Callable[[int, int], None]) -> None:
        self._rig = rig
        self._threads = ThreadPoolExecutor(jobs)
        self._progress = progress
        self._waiting: dict[Future[Result], Workload] = {}
        self._undisturbed: dict[str, Outcome | None] = {}
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rig.end()
        self._threads.shutdown(cancel_futures=True)

    def add(self, workload: Workload, points: tuple[str, ...]) -> None:
        make = self._run if points else self._record
        self._waiting[self._threads.submit(make, workload, points)] = workload

    def add_all(self, workload: Workload, runs: Iterable[tuple[str, ...]]) -> None:
        for points in runs:
            self.add(workload, points)

    def cancel(self) -> None:
        """Begin no more of those that were added. Begun is, besides those that are going on, all that came before."""
        for future in list(self._waiting):
            if future.cancel():
                del self._waiting[future]

    def results(self) -> Iterator[tuple[Workload, Result]]:
        while self._waiting:
            self._progress(self._done, self._done + len(self._waiting))
            finished, _ = wait(self._waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                self._done += 1
                yield self._waiting.pop(future), future.result()
        self._progress(self._done, self._done)

    def _record(self, workload: Workload, _points: tuple[str, ...]) -> Result:
        result, self._undisturbed[workload.name] = record(self._rig, workload)
        return result

    def _run(self, workload: Workload, points: tuple[str, ...]) -> Result:
        return run_until_reached(self._rig, workload, points, self._undisturbed[workload.name])


def record(rig: Rig, workload: Workload) -> tuple[Result, Outcome | None]:
    """Make a run without a fault: the result, and what is left, to compare others with. That must come out twice."""
    result, left = run(rig, workload)
    if left is None or result.verdict != Verdict.SAFE:
        return result, left
    twin, again = run(rig, workload, undisturbed=left)
    violations = _what_differs(result, twin, left, again)
    return (replace(result, violations=violations, verdict=Verdict.BROKEN) if violations else result), left


def run_until_reached(
    rig: Rig, workload: Workload, points: tuple[str, ...], undisturbed: Outcome | None = None
) -> Result:
    """Make a run, and make it again a few times while its points are not reached."""
    result, _left = run(rig, workload, points, undisturbed=undisturbed)
    for _ in range(_TRIES - 1):
        if result.verdict != Verdict.NOT_REACHED:
            break
        result, _left = run(rig, workload, points, undisturbed=undisturbed)
    return result


def _what_differs(first: Result, second: Result, left: Outcome, again: Outcome | None) -> list[str]:
    """A sentence for each difference between two runs that nothing disturbed: none of them is a crash's fault."""
    steps = set(first.reached) ^ set(second.reached)
    sentences = [f"only one of two undisturbed runs came to {point}" for point in sorted(steps)]
    if again is not None:
        sentences += [
            f"the second of two undisturbed runs differs: {each}"
            for each in oracle.differences(left, again, "the first")
        ]
    hint = ["What differs from run to run can't be compared: make it the same, or name it in `ignore`."]
    return [*sentences, *hint] if sentences else second.violations
