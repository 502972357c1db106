"""Ctrl-C, and a kernel's interrupt: which processes it does not reach, and when it has to wait."""

import _thread
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from widget_store.system.windows import AS_ON_WINDOWS

_REPEATED_AFTER_SECONDS = 0.05
OUT_OF_REACH: dict[str, Any] = {"start_new_session": True}
"""For `subprocess`: a process that hears nothing of this one's terminal, nor of its kernel's interrupt."""
if sys.platform == "win32":
    OUT_OF_REACH = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends: what is started in it is known, what is ended in it has ended.

    To block the signal would not do: a notebook's kernel has other threads, which would take it, and Python would
    raise KeyboardInterrupt here all the same.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # only the main thread is interrupted, and only where Python handles the signal
        return
    noted: list[Any] = []
    signal.signal(signal.SIGINT, lambda *which: noted.append(which))
    try:
        with pending_when(lambda: bool(noted)):
            yield
    finally:
        signal.signal(signal.SIGINT, before)
        if noted:
            before(*noted[0])


_pending: list[Callable[[], bool]] = []


@contextlib.contextmanager
def pending_when(is_noted: Callable[[], bool]) -> Iterator[None]:
    """Let `raise_if_pending` know how to ask whether an interrupt was noted in this block, and waits."""
    _pending.append(is_noted)
    try:
        yield
    finally:
        _pending.remove(is_noted)


def raise_if_pending() -> None:
    """End a wait that may take minutes, when an interrupt waits for its end.

    Raises:
        KeyboardInterrupt: When one does, in the main thread: the others are not interrupted.
    """
    if threading.current_thread() is threading.main_thread() and any(is_noted() for is_noted in _pending):
        raise KeyboardInterrupt


def hold_interrupts() -> None:
    """Block Ctrl-C, also for the program that takes this one's place, until it calls `hear_interrupts`."""
    if sys.platform != "win32" and not AS_ON_WINDOWS:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def hear_interrupts() -> None:
    """Let Ctrl-C through again. One that came meanwhile comes now.

    Raises:
        KeyboardInterrupt: When one did.
    """
    if sys.platform != "win32" and not AS_ON_WINDOWS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def end_in_good_order() -> None:
    """Let SIGTERM end a command as Ctrl-C does, by KeyboardInterrupt, and lose neither.

    Python ignores an exception in the code that tidies up after an object, and an interrupt may come in the midst of
    it. Such a one is repeated a moment later.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tell = sys.unraisablehook

    def repeat(ignored: "sys.UnraisableHookArgs") -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            threading.Timer(_REPEATED_AFTER_SECONDS, _interrupt_main_thread).start()
        else:
            tell(ignored)

    sys.unraisablehook = repeat


def _interrupt_main_thread() -> None:
    if sys.platform == "win32" or AS_ON_WINDOWS:
        _thread.interrupt_main()
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # this also ends a sleep
