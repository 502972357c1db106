"""Crash tests in pytest: one test for each crash point of a workload.

    @every_crash_point(OneTransfer)
    def test_no_crash_loses_money(crash: CrashOfATest) -> None:
        crash.must_be_safe()

The crash points are recorded when the tests are collected, once for all of pytest's processes. So their names are
those of the commits, and the same in every run. pytest loads this module in every session of an environment, so what
is slow is imported when such a test is met.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import fasteners
import pytest

if TYPE_CHECKING:
    from widget_store.crashtest.cases import Cases, CrashOfATest
    from widget_store.crashtest.workload import Workload

_UNDISTURBED = "undisturbed"
_SEEN = "crash-test-seen"
_CASES = pytest.StashKey["Cases"]()

Test = TypeVar("Test", bound=Callable[..., object])


def every_crash_point(workload: "type[Workload]") -> Callable[[Test], Test]:
    """Make a test run once for each crash point of a workload, and once without a crash.

    Args:
        workload: The class. The test takes an argument `crash`, a `CrashOfATest`.
    """
    return pytest.mark.every_crash_point.with_args(workload)


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option: which of the crash points are tried."""
    group = parser.getgroup("crash tests", "crash tests of DBOS applications")
    group.addoption(
        "--crash-points", default="*", metavar="PATTERN", help="try only crash points with such names; * is any text"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "every_crash_point(workload): run once for each crash point of a workload")
    if not hasattr(config, "workerinput"):  # of xdist's processes, one hears of all tests
        config.pluginmanager.register(_Sightings(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give back the databases."""
    if _CASES in config.stash:
        config.stash[_CASES].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each crash point."""
    mark = metafunc.definition.get_closest_marker("every_crash_point")
    if mark is None:
        return
    if "crash" not in metafunc.fixturenames:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: the test needs an argument `crash`.")
    (workload,) = mark.args
    points = _points(workload, metafunc.config)
    cases = [(workload, point) for point in ["", *points]]
    metafunc.parametrize("crash", cases, indirect=True, ids=[point or _UNDISTURBED for _, point in cases])


@pytest.fixture
def crash(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> "CrashOfATest":
    """A run with a crash at the point that is in the test's name."""
    from widget_store.crashtest.cases import CrashOfATest

    workload, point = request.param
    result = _cases(request.config).of(workload).result(point)
    is_whole = request.config.getoption("--crash-points") == "*"
    expected = workload.sometimes if is_whole else ()
    record_property(_SEEN, json.dumps([workload.__name__, list(expected), sorted(result.seen)]))
    return CrashOfATest(result, workload().target)


class _Sightings:
    """What workloads say to see sometimes. A session in which no run has seen it has tried too little, and fails."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._expected: dict[str, set[str]] = defaultdict(set)
        self._seen: dict[str, set[str]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear what a run has seen."""
        for name, what in report.user_properties:
            if name == _SEEN:
                workload, expected, seen = json.loads(str(what))
                self._expected[workload].update(expected)
                self._seen[workload].update(seen)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session when something was never seen."""
        if self._never_seen() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what was never seen."""
        for line in self._never_seen():
            terminalreporter.write_line(line, red=True)

    def _never_seen(self) -> list[str]:
        return [
            f"CRASH TEST of {workload}: no run has seen “{what}”"
            for workload, expected in self._expected.items()
            for what in sorted(expected - self._seen[workload])
        ]


def _cases(config: pytest.Config) -> "Cases":
    from widget_store.crashtest.cases import Cases

    return config.stash.setdefault(_CASES, Cases())


def _points(workload: "type[Workload]", config: pytest.Config) -> list[str]:
    """The names of the crash points that are to be tried."""
    reached, why = _recording(workload, config)
    pattern = config.getoption("--crash-points")
    points = [
        point
        for point in reached
        if all(point == each or fnmatchcase(point, each) for each in (workload.only, pattern))
    ]
    if not points and not why:
        known = "\n  ".join(reached) or "none"
        raise pytest.UsageError(f"{workload.__name__} has no crash point like {pattern}. Its crash points:\n  {known}")
    return points


def _recording(workload: "type[Workload]", config: pytest.Config) -> tuple[list[str], str]:
    """The crash points of a workload, and what is wrong without a crash.

    The first of pytest's processes that asks has them recorded; the others read what it has written.
    """
    session: str | None = getattr(config, "workerinput", {}).get("testrunuid")
    cache = getattr(config, "cache", None)
    if session is None or cache is None:
        return _record(workload, config)
    file = Path(cache.mkdir("crash-points")) / f"{session}-{workload.__module__}.{workload.__qualname__}.json"
    with fasteners.InterProcessLock(f"{file}.lock"):
        if not file.exists():
            file.write_text(json.dumps(_record(workload, config)), encoding="utf-8")
        reached, why = json.loads(file.read_text(encoding="utf-8"))
        return reached, why


def _record(workload: "type[Workload]", config: pytest.Config) -> tuple[list[str], str]:
    from widget_store.errors import WidgetStoreError

    try:
        undisturbed = _cases(config).of(workload).undisturbed
    except WidgetStoreError as failure:
        raise pytest.UsageError(f"{workload.__name__} can't be tested: {failure}") from None
    return undisturbed.reached, "; ".join(undisturbed.violations)
