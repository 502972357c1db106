"""Takes from the kit's modules what Windows lacks. With this folder on PYTHONPATH, each Python runs it as it starts.

The switch alone proves little on Linux, where a forgotten call still works. Behind this guard it fails, as it would on
Windows. Other packages keep these names: they have code of their own for Windows.

Left to the kit is what asks for the account (`os.geteuid`, `pwd`): that is still Linux's. The types are checked for
Windows, too, and find such calls.
"""

import builtins
import multiprocessing as mp
import os
import signal
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_LACKING = {
    os: {"fork", "forkpty", "kill", "killpg", "setsid", "setpgid", "getpgid", "waitpid", "WNOHANG", "mkfifo"},
    signal: {"SIGKILL", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGSTOP", "SIGCONT", "SIGALRM"}
    | {"pause", "alarm", "setitimer", "pthread_sigmask", "pthread_kill", "sigwait"},
    socket: {"AF_UNIX", "socketpair", "send_fds", "recv_fds"},
}
_LACKING_MODULES = {"fcntl", "resource", "termios", "pty", "multiprocessing.forkserver", "multiprocessing.popen_fork"}
_KIT = f"{Path(__file__).parents[2] / 'widget_store'}{os.sep}"
_import, _get_context = builtins.__import__, mp.get_context


def _kit_asks() -> bool:
    """Whether the code that called our caller is the kit's."""
    try:
        return sys._getframe(2).f_code.co_filename.startswith(_KIT)  # noqa: SLF001 - documented
    except ValueError:  # the interpreter itself, as it starts
        return False


class _AsOnWindows(ModuleType):
    def __getattribute__(self, name: str) -> Any:
        if name in _LACKING[self] and _kit_asks():
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return super().__getattribute__(name)


def _import_as_on_windows(name: str, *arguments: Any, **named: Any) -> ModuleType:
    if _kit_asks() and _LACKING_MODULES & {name, *(f"{name}.{each}" for each in (arguments[2:3] or [()])[0] or ())}:
        raise ModuleNotFoundError(f"No module named {name!r} on Windows")
    return _import(name, *arguments, **named)


def _get_context_as_on_windows(method: str | None = None) -> Any:
    if method in ("fork", "forkserver") and _kit_asks():
        raise ValueError(f"cannot find context for {method!r} on Windows")
    return _get_context(method)


for _module in _LACKING:
    _module.__class__ = _AsOnWindows
builtins.__import__ = _import_as_on_windows
mp.get_context = _get_context_as_on_windows
