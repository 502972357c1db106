"""The runs of a workload for a test framework: one for each crash point, made when it is asked for."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from widget_store.crashtest.crash_map import command, timeline
from widget_store.crashtest.oracle import Outcome
from widget_store.crashtest.results import Result, Verdict
from widget_store.crashtest.run import Rig
from widget_store.crashtest.search import record, run_until_reached
from widget_store.crashtest.workload import Workload
from widget_store.databases.throwaway import open_databases
from widget_store.settings import read_settings
from widget_store.system.processes import warm_processes


@dataclass(frozen=True)
class CrashOfATest:
    """What a test decorated with `every_crash_point` gets as `crash`: one run, with one crash.

    Attributes:
        result: The run and its verdict.
        target: How the command `widget-store crash-test` is told to test this.
    """

    result: Result
    target: str

    @property
    def point(self) -> str:
        """Where the process was killed; empty for the run in which it was not."""
        return self.result.point

    @property
    def violations(self) -> list[str]:
        """A sentence for each thing that is wrong in the end."""
        return self.result.violations

    def must_be_safe(self) -> None:
        """Fail the test unless the run was safe, and say what is wrong, what happened, and how to see it again."""
        __tracebackhide__ = True
        if self.result.verdict != Verdict.SAFE:
            printed = f"\nThe application printed:\n{self.result.printed}" if self.result.printed.strip() else ""
            again = command(self.result, self.target)
            pytest.fail(f"{timeline(self.result)}\n\nTo see it again:\n    {again}{printed}", pytrace=False)


@dataclass(frozen=True)
class Case:
    """One workload, ready for runs, and its run without a crash."""

    workload: Workload
    rig: Rig
    undisturbed: Result
    left: Outcome | None

    def result(self, point: str) -> Result:
        """A run with a crash there; the one without any for an empty name."""
        if not point:
            return self.undisturbed
        return run_until_reached(self.rig, self.workload, (point,), self.left)


class Cases:
    """The workloads under test in this process, each with its databases, made when first needed."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._cases: dict[type[Workload], Case] = {}

    def of(self, workload: type[Workload]) -> Case:
        """The case of a workload.

        Raises:
            WidgetStoreError: When it can't be tested.
        """
        if workload not in self._cases:
            self._cases[workload] = self._stack.enter_context(_opened(workload()))
        return self._cases[workload]

    def close(self) -> None:
        """End all, and give back the databases."""
        self._stack.close()


@contextlib.contextmanager
def _opened(workload: Workload) -> Iterator[Case]:
    with (
        open_databases(read_settings()) as databases,
        Rig(warm_processes("widget_store.crashtest.run"), databases) as rig,
    ):
        rig.prepare(workload)
        yield Case(workload, rig, *record(rig, workload))
