"""Where processes come from, and how they end. This module imports nothing slow: it is there before anything slow is.

An interrupt is Ctrl-C in a terminal, or *Kernel, Interrupt* in a notebook. Both send SIGINT to a whole process group, and
only one process of it shall act: the supervisor, or the kernel.
"""

import contextlib
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from widget_store.machine import AS_ON_WINDOWS

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext  # Windows has only the second

Processes: TypeAlias = "ForkServerContext | SpawnContext"


def warm_processes(*also: str) -> Processes:
    """A process that has imported everything, and forks workers; where there is no fork, fresh interpreters.

    It imports while its caller goes on, so ask early. Asked again, it is the same process.

    Args:
        also: Modules that it shall import beside those of the server.
    """
    if sys.platform != "win32":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # now, for its start lets through what `out_of_reach` blocks
    if AS_ON_WINDOWS:
        return mp.get_context("spawn")
    from multiprocessing import forkserver

    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["widget_store.warm", *also])
    with out_of_reach():
        forkserver.ensure_running()
    return context


GROUP_OF_ITS_OWN: dict[str, Any] = (
    {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if sys.platform == "win32" else {"start_new_session": True}
)
"""For `subprocess.Popen`: the child is out of the reach of an interrupt, and of the terminal."""


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """An interrupt that comes in this block acts at its end. So no process is started of which nobody knows.

    It is not enough to block the signal: the system gives it to another thread then, and Python acts on it in the main
    thread all the same. Keep the block short, and note in it what it has made.

    Raises:
        KeyboardInterrupt: At the end of the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python interrupts the main thread only
        return
    noted: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda which, frame: noted.append((which, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if noted and callable(before):
            before(*noted[0])


@contextlib.contextmanager
def out_of_reach() -> Iterator[None]:
    """What is started in this block never gets an interrupt: for `multiprocessing`, which makes no group of its own.

    Raises:
        KeyboardInterrupt: At the end of the block: see `interrupts_wait`.
    """
    with interrupts_wait():
        if sys.platform == "win32":
            yield
            return
        # A program inherits what is blocked, from its first instruction on. A handler would be lost on the way.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it has: without it, it would be an orphan.

    How it learns this: `multiprocessing` gives both a pipe, and the system closes the parent's end of it.
    """
    parent = mp.parent_process()
    if parent is None:
        return
    if sys.platform == "linux":
        # A thread is not enough: a learner's code may hold Python's lock, and then no other thread runs. So the system
        # is asked for a signal, too. Nobody handles this one, and so it ends the process.
        import fcntl

        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)

    def follow() -> None:
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

