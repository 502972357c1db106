"""Where worker processes come from. This module imports nothing slow: it is there before anything slow is."""

import contextlib
import multiprocessing as mp
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from widget_store.system.interrupts import interrupts_wait
from widget_store.system.windows import AS_ON_WINDOWS

if TYPE_CHECKING:
    import psutil

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection

    Connection: TypeAlias = PipeConnection
    Processes: TypeAlias = SpawnContext
else:
    from multiprocessing import connection
    from multiprocessing.context import ForkServerContext

    Connection: TypeAlias = connection.Connection
    Processes: TypeAlias = ForkServerContext | SpawnContext

_LONGEST_SOCKET = 103  # bytes in the name of a Unix socket: 103 on macOS, 107 on Linux
_SOCKET_OF_FORK_SERVER = "/pymp-12345678/listener-12345678"  # as multiprocessing names it, in the temporary folder


def warm_processes(*modules: str) -> Processes:
    """A process that has imported everything, and forks workers; as on Windows, fresh interpreters.

    It imports while its caller goes on, so ask early. Asked again, it is the same process. Start what it makes with
    `start`.

    Args:
        modules: What it imports.
    """
    if sys.platform == "win32" or AS_ON_WINDOWS:
        return mp.get_context("spawn")
    from multiprocessing import forkserver, util

    # Python 3.11.0 would take a socket without a file: every account can connect to it, and run code (CVE-2022-42919).
    vars(util)["abstract_sockets_supported"] = False  # typeshed calls it final
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["widget_store.system.apart", *modules])
    _take_a_short_temporary_folder()
    with interrupts_wait(), _kept_from_children(), _without_the_current_folder():
        forkserver.ensure_running()
    return context


def start(process: BaseProcess) -> None:
    """Start a process of `warm_processes`. It calls `stand_apart` first of all.

    An interrupt waits until the process is started, and does not reach it.
    """
    with interrupts_wait(), _kept_from_children():
        process.start()


def descendant(ancestor: int, pid: int) -> "psutil.Process | None":
    """The process of that id, if it descends from the other: the only kind that the kit kills.

    An id that came over HTTP may be anybody's.
    """
    import psutil

    with contextlib.suppress(psutil.Error, ValueError):
        found = psutil.Process(pid)
        if any(each.pid == ancestor for each in found.parents()):
            return found
    return None


def stand_apart() -> None:
    """Take this process out of the reach of Ctrl-C, and of what a notebook's *Interrupt* sends to a whole group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32" and not AS_ON_WINDOWS:
        with contextlib.suppress(PermissionError):  # it has a group of its own already
            os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it has: without it, it would be an orphan.

    Both have an end of a pipe, and the system closes the parent's, however that one dies.
    """
    parent = mp.parent_process()
    if parent is None:
        return
    if sys.platform == "linux" and not AS_ON_WINDOWS:
        # A thread is not enough: a learner's code may hold the interpreter's lock, in a long regular expression for
        # example, and then no other thread runs. The system can send a signal, too. Nobody handles it, and it kills.
        import fcntl

        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def die() -> None:
    """End this process at once, as a power cut would: no handler runs, nothing is flushed, nobody is told."""
    if sys.platform != "win32" and not AS_ON_WINDOWS:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)  # Windows has no SIGKILL; this skips every handler too


def be_silent() -> None:
    """Print nothing from here on: of a store in a lesson or a test, nobody reads it, and a notebook would show it."""
    print_into(Path(os.devnull))


def print_into(file: Path) -> None:
    """Let this process, and what it starts, print into a file from here on: at its end, if there is one."""
    there = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(there, 1)
    os.dup2(there, 2)


@contextlib.contextmanager
def _kept_from_children() -> Iterator[None]:
    """Block SIGINT for what is started in the block, until it stands apart: a new process inherits the blocking."""
    if sys.platform == "win32" or AS_ON_WINDOWS:
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # in the block it would be started with a blocking of its own, and end ours
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_the_current_folder() -> Iterator[None]:
    """Let a Python that is started in the block import nothing from there: a learner's random.py, for example."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _take_a_short_temporary_folder() -> None:
    """Let multiprocessing have a folder whose name is short enough for a socket, whatever TMPDIR is.

    It makes a private folder in the temporary one, once, and removes it at the end.
    """
    from multiprocessing.util import get_temp_dir

    usual = tempfile.gettempdir()
    if len(os.fsencode(usual + _SOCKET_OF_FORK_SERVER)) <= _LONGEST_SOCKET:
        return
    short = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a private folder is made in it
    for folder in short:
        if os.access(folder, os.W_OK | os.X_OK):
            tempfile.tempdir = folder
            try:
                get_temp_dir()
            finally:
                tempfile.tempdir = usual
            return
