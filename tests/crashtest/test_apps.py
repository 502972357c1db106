"""Applications as they are at work: the right ones are safe at every crash point, the others broken where they say so.

Each file of apps/ stands alone, and imports nothing of the kit. A broken one says at which crash points, by patterns.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crashtest import workloads
from widget_store.crashtest import Plan, Report, Verdict, Workload, crash_test
from widget_store.crashtest.points import fits
from widget_store.databases import Database
from widget_store.settings import Settings

APPS = Path(__file__).parent / "apps"
WORKLOADS: dict[str, type[Workload]] = {
    "direct": workloads.Direct,
    "outbox": workloads.Outbox,
    "quote": workloads.Quote,
    "reconcile": workloads.Reconciliation,
    "transfer": workloads.Transfer,
    "trip": workloads.Trip,
}
IN_CI = {"direct", "direct_without_a_key", "transfer", "transfer_without_a_key"}
"""The others run every night."""

Test = Callable[..., Report]


@pytest.fixture
def crash(new_database: Callable[[str], Database]) -> Test:
    """Crash tests on a kind of database, one run at a time: the tests go side by side already."""

    def test(app: str, backend: str, *points: str) -> Report:
        workload = WORKLOADS[app.partition("_")[0]]()
        workload.app = APPS / f"{app}.py"
        return crash_test(Plan((workload,), points or ("*",), jobs=1), Settings(database_url=new_database(backend).url))

    return test


def predicted(app: str) -> list[str]:
    """The patterns of the crash points at which an application says that it is broken."""
    return re.findall(r"^broken at: (\S.*)$", (APPS / f"{app}.py").read_text(encoding="utf-8"), re.MULTILINE)


def cases() -> list[object]:
    names = sorted(file.stem for file in APPS.glob("*.py"))
    night = pytest.mark.nightly("dozens of runs each; CI has the two smallest of them")
    return [pytest.param(name, marks=() if name in IN_CI else night) for name in names]


@pytest.mark.slow("kills an application at each of its crash points")
@pytest.mark.thorough("many crash points")
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
@pytest.mark.parametrize("app", cases())
def test_an_application_is_broken_at_the_crash_points_that_it_says_and_nowhere_else(
    app: str, backend: str, crash: Test
) -> None:
    report = crash(app, backend)
    (undisturbed,) = report.recorded
    assert undisturbed.verdict == Verdict.SAFE, undisturbed
    said = predicted(app)
    assert [pattern for pattern in said if not any(fits(point, pattern) for point in undisturbed.reached)] == []
    broken = {result.point: result.violations for result in report.results if result.verdict == Verdict.BROKEN}
    assert set(broken) == {p for p in undisturbed.reached if any(fits(p, pattern) for pattern in said)}, broken
    assert {result.verdict for result in report.results} <= {Verdict.SAFE, Verdict.BROKEN}
    assert [point for point in undisturbed.reached if point.startswith("unknown/")] == []
    assert report.never_seen == []


@pytest.mark.slow("kills an application at the crash points of one step")
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
@pytest.mark.parametrize(
    ("app", "points", "told"),
    [
        ("transfer_without_a_key", "*/3.notify/*", "calls outside: has POST /notifications/bert"),
        ("transfer_credit_in_a_step", "*/2.credit/*", "money: there is 130 in all, and was 100"),
        ("direct_without_a_key", "*/1.note/*", "table payments: has (id p-1, amount 30)"),
    ],
)
def test_a_broken_step_is_found_and_told(app: str, points: str, told: str, backend: str, crash: Test) -> None:
    report = crash(app, backend, points)
    assert {run.point for run in report.failures} == set(predicted(app))
    assert all(any(told in each for each in run.violations) for run in report.failures)
    assert len(report.results) > len(report.failures), "and the crash points beside it are safe"


def test_the_applications_import_nothing_of_the_kit() -> None:
    files = list(APPS.glob("*.py"))
    assert len(files) == 17
    assert [file.name for file in files if "widget_store" in file.read_text(encoding="utf-8")] == []


def test_each_application_is_there_right_and_broken_in_some_ways() -> None:
    for name in WORKLOADS:
        broken = [file.stem for file in APPS.glob(f"{name}_*.py")]
        assert predicted(name) == []
        assert len(broken) >= (1 if name == "direct" else 2), broken
        assert all(predicted(each) for each in broken)
