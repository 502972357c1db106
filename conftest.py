"""Which tests run, in which order, and how many side by side; their fixtures are in tests/conftest.py."""

import os
from collections import Counter
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

EACH_ON_ITS_OWN = {"test_crash_points.py", "test_exercises.py", "test_mutants.py", "test_outputs.py", "test_solved.py"}
"""Files whose tests take so long that one process would still be at them when the others are done."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `pytest --help` says of these."""
    ours = parser.getgroup("widget store")
    in_ci = bool(os.environ.get("CI"))
    ours.addoption(
        "--thorough", action="store_true", default=in_ci, help="run the tests marked thorough, too, as in CI"
    )
    ours.addoption("--nightly", action="store_true", help="run all tests, those marked nightly, too")
    ours.addoption(
        "--pictures", action="store_true", help="only take pictures of every solved lesson, for test-results/"
    )


LEVELS = ("", "thorough", "nightly")
"""How much is run: what every change must pass; what CI runs; all. A test is marked with the name of its level."""
ALL = len(LEVELS) - 1


def _level(config: pytest.Config) -> int:
    return ALL if config.getoption("--nightly") else int(config.getoption("--thorough"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out those of a higher level; take pictures, or do all the rest; put the longest first."""
    left_out = _above(_level(config), items)
    pictures = config.getoption("--pictures")
    left_out |= {item.nodeid for item in items if bool(item.get_closest_marker("pictures")) != pictures}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
    items[:] = [item for item in items if item.nodeid not in left_out]
    _put_longest_first(items)


def _above(level: int, items: list[pytest.Item]) -> set[str]:
    """The names of the tests above a level. A slow one on SQLite is one level above its twin on PostgreSQL."""
    if level == ALL:
        return set()
    levels = {item.nodeid: _level_of(item) for item in items}
    slow = {item.nodeid for item in items if item.get_closest_marker("slow")}
    for name in slow:
        twin = name.replace("sqlite", "postgresql")
        if "sqlite" in name and twin in levels:
            levels[name] = max(levels[name], levels[twin] + 1)
    return {name for name, its in levels.items() if its > level}


def _level_of(item: pytest.Item) -> int:
    return max(number for number, mark in enumerate(LEVELS) if not mark or item.get_closest_marker(mark))


def _put_longest_first(items: list[pytest.Item]) -> None:
    """Put the longest first, also where pytest-randomly shuffles the tests.

    With xdist, a file's tests stay in one process: begun last, a long one would leave the other cores idle.
    Left alone, xdist begins with the files of the most tests: `--no-loadscope-reorder` keeps this order.
    """
    in_browser = [item for item in items if item.get_closest_marker("browser")]
    tests = [item for item in items if not item.get_closest_marker("browser")]
    slow = Counter[Path]()
    for item in tests:
        for mark in item.iter_markers("slow"):
            slow[item.path] += mark.kwargs.get("weight", 1)
    tests.sort(key=lambda item: -slow[item.path])
    items[:] = [*in_browser, *tests]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report mutants caught / mutants, and that there are more tests."""
    told = {
        outcome: [r for r in terminalreporter.getreports(outcome) if "test_mutants.py" in r.nodeid and "[" in r.nodeid]
        for outcome in ("passed", "failed")
    }
    if mutants := sum(map(len, told.values())):
        terminalreporter.write_line(f"mutants caught: {len(told['passed'])} of {mutants}")
    if _level(config) < ALL:
        left_out = "nightly tests" if _level(config) else "thorough tests, which CI runs, and the nightly ones"
        terminalreporter.write_line(f"without the {left_out}: `make test-all` runs all")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three for each core, as a test mostly waits for a store; but each has a database server of its own.

    Two, when the thorough ones run: those keep the cores busy, and 15 % longer with three.
    """
    return min(12, (2 if _level(config) else 3) * (os.cpu_count() or 1))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """A file's tests go to one process; those of a few files, one by one."""
    return _ByFile(config, log)


class _ByFile(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return nodeid if Path(file).name in EACH_ON_ITS_OWN else file
