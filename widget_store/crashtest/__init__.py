"""Crash tests of any DBOS application: kill it at every commit, recover it, and compare what is left.

Write a `Workload`: which application, what is asked of it, and what must be true in the end. Then

- in pytest: decorate a test with `every_crash_point`;
- in a terminal: `widget-store crash-test FILE::WORKLOAD`;
- in Python: `crash_test(Plan((MyWorkload(),)))`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widget_store.crashtest.cases import CrashOfATest
    from widget_store.crashtest.faults import FAULTS
    from widget_store.crashtest.plugin import every_crash_point
    from widget_store.crashtest.recorder import Answer, Request
    from widget_store.crashtest.results import Report, Result, Verdict
    from widget_store.crashtest.search import Plan, crash_test
    from widget_store.crashtest.workload import App, Workload

__all__ = [
    "FAULTS",
    "Answer",
    "App",
    "CrashOfATest",
    "Plan",
    "Report",
    "Request",
    "Result",
    "Verdict",
    "Workload",
    "crash_test",
    "every_crash_point",
]

_HOMES = {
    "FAULTS": "faults",
    "Answer": "recorder",
    "App": "workload",
    "CrashOfATest": "cases",
    "Plan": "search",
    "Report": "results",
    "Request": "recorder",
    "Result": "results",
    "Verdict": "results",
    "Workload": "workload",
    "crash_test": "search",
    "every_crash_point": "plugin",
}


def __getattr__(name: str) -> Any:
    """Import the names when they are first asked for: a process that is killed needs few of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
