"""Where worker processes come from. This module imports nothing slow: it is there before anything slow is."""

import contextlib
import multiprocessing as mp
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.context import SpawnContext
from typing import TypeAlias

from widget_store.machine import AS_ON_WINDOWS

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection

    Connection: TypeAlias = PipeConnection
    Processes: TypeAlias = SpawnContext
else:
    from multiprocessing import connection
    from multiprocessing.context import ForkServerContext

    Connection: TypeAlias = connection.Connection
    Processes: TypeAlias = ForkServerContext | SpawnContext


def warm_processes(*also: str) -> Processes:
    """A process that has imported everything, and forks workers; as on Windows, fresh interpreters.

    It imports while its caller goes on, so ask early. Asked again, it is the same process.

    Args:
        also: Modules that it shall import beside those of the server.
    """
    if sys.platform == "win32" or AS_ON_WINDOWS:
        return mp.get_context("spawn")
    from multiprocessing import forkserver

    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["widget_store.warm", *also])
    # The terminal sends Ctrl-C to every process of the group: only the supervisor shall act on it.
    with _ignored(signal.SIGINT):
        forkserver.ensure_running()
    return context


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it has: without it, it would be an orphan."""
    parent = mp.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def be_silent() -> None:
    """Print nothing from here on: of a store in a lesson or a test, nobody reads it, and a notebook would show it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


@contextlib.contextmanager
def _ignored(which: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may; a thread that asks again finds the process running
        return
    before = signal.signal(which, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(which, before)
