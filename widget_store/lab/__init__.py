"""The lab in the notebook: start a store, use it, crash it, and look at what is left.

Everything here runs in the notebook's kernel. DBOS doesn't: it lives in the store's own process, which is the one that
dies.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widget_store.benchmarks.picture import bench_picture
    from widget_store.course.checks import check
    from widget_store.lab.crash_lab import CrashLab
    from widget_store.lab.crash_panel import CrashMap, try_every_crash_point
    from widget_store.lab.crash_test import Plan
    from widget_store.lab.experiment import Crash, crash_at
    from widget_store.lab.own_tests import run_tests
    from widget_store.lab.panels import Lab
    from widget_store.lab.provider import Provider
    from widget_store.lab.provider_panel import ProviderPanel
    from widget_store.lab.releases import Releases
    from widget_store.lab.store import Store, StoreRefused
    from widget_store.lab.workers import WorkerIsDead, Workers
    from widget_store.lab.workers_panel import WorkersPanel

__all__ = [
    "Crash",
    "CrashLab",
    "CrashMap",
    "Lab",
    "Plan",
    "Provider",
    "ProviderPanel",
    "Releases",
    "Store",
    "StoreRefused",
    "WorkerIsDead",
    "Workers",
    "WorkersPanel",
    "bench_picture",
    "check",
    "crash_at",
    "run_tests",
    "try_every_crash_point",
]

_HOMES = {
    "Crash": "widget_store.lab.experiment",
    "CrashLab": "widget_store.lab.crash_lab",
    "CrashMap": "widget_store.lab.crash_panel",
    "Lab": "widget_store.lab.panels",
    "Plan": "widget_store.lab.crash_test",
    "Provider": "widget_store.lab.provider",
    "ProviderPanel": "widget_store.lab.provider_panel",
    "Releases": "widget_store.lab.releases",
    "Store": "widget_store.lab.store",
    "StoreRefused": "widget_store.lab.store",
    "WorkerIsDead": "widget_store.lab.workers",
    "Workers": "widget_store.lab.workers",
    "WorkersPanel": "widget_store.lab.workers_panel",
    "bench_picture": "widget_store.benchmarks.picture",
    "check": "widget_store.course.checks",
    "crash_at": "widget_store.lab.experiment",
    "run_tests": "widget_store.lab.own_tests",
    "try_every_crash_point": "widget_store.lab.crash_panel",
}

if "IPython" in sys.modules:  # else this is a process that serves or is crashed, which imports nothing it does not need
    from widget_store.lab.writefile import use_in_notebook

    use_in_notebook()


def __getattr__(name: str) -> Any:
    """Import the names when they are first asked for: a crash test starts hundreds of processes without widgets."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
