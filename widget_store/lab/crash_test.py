"""The crash test of the store: its scenarios, and every crash point of a checkout, the store's own or a learner's."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from widget_store.crashtest import search
from widget_store.crashtest.results import Report, Result
from widget_store.crashtest.run import Look, Rig, look_away, run
from widget_store.databases.throwaway import Databases, open_databases
from widget_store.lab.processes import lab_processes
from widget_store.lab.scenarios import SCENARIOS, Scenario
from widget_store.lab.store_workload import StoreWorkload
from widget_store.settings import Settings, read_settings


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
    points: tuple[str, ...] = search.ALL
    pairs: bool = False
    jobs: int = os.cpu_count() or 1
    time_limit: float = 30.0
    to_the_end: bool = True

    def workloads(self) -> search.Plan:
        """The same for the crash test of any application."""
        return search.Plan(
            tuple(
                StoreWorkload(scenario, self.app_file, must_sell=scenario.name in SCENARIOS)
                for scenario in self.scenarios
            ),
            points=self.points,
            pairs=self.pairs,
            jobs=self.jobs,
            time_limit=self.time_limit,
            to_the_end=self.to_the_end,
        )


def crash_test(
    plan: Plan | search.Plan,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Report:
    """Play each scenario undisturbed, and then once for each of its crash points.

    Args:
        plan: What is to be tested: scenarios of the store, or workloads of any application.
        settings: Which kind of database to test on; those of the environment by default.
        progress: Told how many runs are done, and how many there are so far: more are found on the way.

    Raises:
        AppFileError: When the application can't be launched at all.
        DatabaseUnavailable: When there is no database to test on.
        Starved: When the machine has not enough for it.
    """
    general = plan.workloads() if isinstance(plan, Plan) else plan
    return search.crash_test(general, settings, progress, lab_processes())


class Runs:
    """Single runs of scenarios, side by side if wanted.

    Args:
        databases: Where each run gets a database of its own.
        app_file: A learner's file; None for the store's own checkout.
        time_limit: Seconds after which a run is given up.

    Raises:
        AppFileError: When the application can't be launched at all.
    """

    def __init__(self, databases: Databases, app_file: Path | None = None, time_limit: float = 30.0) -> None:
        self._app_file = app_file
        self._rig = Rig(lab_processes(), databases, time_limit)
        try:
            self._rig.prepare(StoreWorkload(SCENARIOS["paid"], app_file))
        except BaseException:
            self._rig.close()
            raise

    def play(self, scenario: Scenario, points: tuple[str, ...] = (), look: Look = look_away) -> Result:
        """Play a scenario, with a kill at each of the crash points: the first in the first process, and so on.

        Args:
            scenario: What the customers do.
            points: Where to kill.
            look: Called whenever a process has died, before the next one is started; and in the end.
        """
        return run(self._rig, StoreWorkload(scenario, self._app_file), points, look)[0]

    def close(self) -> None:
        """End what is going on."""
        self._rig.close()


@contextlib.contextmanager
def single_runs(app_file: Path | None = None, time_limit: float = 30.0) -> Iterator[Runs]:
    """Single runs of scenarios, on the kind of database that the settings name.

    Args:
        app_file: A learner's file; None for the store's own checkout.
        time_limit: Seconds after which a run is given up.
    """
    with (
        open_databases(read_settings()) as databases,
        contextlib.closing(Runs(databases, app_file, time_limit)) as runs,
    ):
        yield runs
