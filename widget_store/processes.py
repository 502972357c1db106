"""Where worker processes come from. This module imports nothing slow: it is there before anything slow is."""

import contextlib
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext  # Windows has only the second

Processes: TypeAlias = "ForkServerContext | SpawnContext"

OUT_OF_REACH: dict[str, Any] = {"start_new_session": True}
"""For `subprocess.Popen`: a process that neither a terminal's Ctrl-C nor a kernel's interrupt reaches."""
if sys.platform == "win32":
    OUT_OF_REACH = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


def warm_processes(*also: str) -> Processes:
    """A process that has imported everything, and forks workers; where there is no fork, fresh interpreters.

    It imports while its caller goes on, so ask early. Asked again, it is the same process.

    Args:
        also: Modules that it shall import beside those of the server.
    """
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    from multiprocessing import forkserver

    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["widget_store.warm", *also])
    # The terminal sends Ctrl-C to every process of the group, and a kernel's interrupt does. Only the supervisor, or
    # the kernel, shall act on it. A signal that is blocked stays blocked in the processes that are started meanwhile.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
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
def interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C, or a kernel's interrupt, wait until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # it interrupts the main thread only
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
