"""Where the stores of a notebook, and those that crash tests kill, come from."""

from widget_store.system.processes import Processes, warm_processes


def lab_processes() -> Processes:
    """Processes that are forked with the server and the crash test imported. See `warm_processes`."""
    return warm_processes("widget_store.serving.warm", "widget_store.lab.store_workload")
