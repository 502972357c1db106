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
    ours.addoption(
        "--pictures", action="store_true", help="only take pictures of every solved lesson, for test-results/"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the thorough ones to CI; take pictures, or do all the rest; put the longest first."""
    left_out = set() if config.getoption("--thorough") else _thorough(items)
    pictures = config.getoption("--pictures")
    left_out |= {item.nodeid for item in items if bool(item.get_closest_marker("pictures")) != pictures}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
    items[:] = [item for item in items if item.nodeid not in left_out]
    _put_longest_first(items)


def _thorough(items: list[pytest.Item]) -> set[str]:
    """The names of those that are marked so, and of slow ones on SQLite that are run on PostgreSQL, too."""
    names = {item.nodeid for item in items}
    marked = {item.nodeid for item in items if item.get_closest_marker("thorough")}
    slow = {item.nodeid for item in items if item.get_closest_marker("slow")} - marked
    return marked | {
        name for name in slow if "sqlite" in name and name.replace("sqlite", "postgresql") in names - marked
    }


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
    if not config.getoption("--thorough"):
        terminalreporter.write_line("without the thorough tests: `make test-all` runs those, too, as CI does")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three for each core, as a test mostly waits for a store; but each has a database server of its own.

    Two, when the thorough ones run: those keep the cores busy, and 15 % longer with three.
    """
    return min(12, (2 if config.getoption("--thorough") else 3) * (os.cpu_count() or 1))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """A file's tests go to one process; those of a few files, one by one."""
    return _ByFile(config, log)


class _ByFile(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return nodeid if Path(file).name in EACH_ON_ITS_OWN else file
