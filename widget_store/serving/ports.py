"""Where the store listens, and who is there already."""

import contextlib
import re
import secrets
import socket
import sys

import psutil

from widget_store.errors import PortTaken

# Free ports are looked for below those that systems give to programs that ask for any: Linux from 32768 on, others from
# 49152. Who starts a store again on the port that it had finds it free.
_FREE = range(20_000, 32_768)
_TRIES = 100


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections on the port, or on a free one for 0. Whoever asks for it closes it.

    Raises:
        PortTaken: With the name of the program that has it, where the system tells.
    """
    for _ in range(0 if port else _TRIES):
        with contextlib.suppress(OSError):
            return _bound(host, secrets.choice(_FREE))
    try:
        return _bound(host, port)
    except OSError as failure:
        raise PortTaken(
            f"The store can't listen on {host}:{port}: {failure.strerror}{_taken_by(port)}. "
            "End that program, or choose another port with --port (0 takes a free one)."
        ) from None


def free_port(host: str, port: int) -> int:
    """The port, or one for 0, that was free a moment ago. Who wants to keep it from others holds what `listen` gives.

    Raises:
        PortTaken: With the name of the program that has it, where the system tells.
    """
    with listen(host, port) as probe:
        return int(probe.getsockname()[1])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, for asyncio to see that it is: only then are answers sent at once, and not held back for 40 ms (Nagle).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":
        # Take the port although connections of a dead process linger on it. Windows does that without being asked, and
        # there this option has another meaning: two programs could listen on one port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(socket.SOMAXCONN)
    except OSError:
        listener.close()
        raise
    return listener


def _taken_by(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                program = psutil.Process(connection.pid)
                supervisor = next(filter(_is_supervisor, program.parents()), None)
                if supervisor is not None:
                    return f", by another widget store (process {supervisor.pid})"
                return f", by {program.name()} (process {program.pid})"
    return ", by a program this user may not see"


def _is_supervisor(process: psutil.Process) -> bool:
    """Whether this is the process that starts a store's worker again when only the worker is ended."""
    with contextlib.suppress(psutil.Error):  # it has ended, or belongs to somebody else, as all programs' ancestors do
        # On Windows the command is `python.exe …\\widget-store.exe serve …`.
        return re.search(r"widget[-_]store(\.exe)? serve\b", " ".join(process.cmdline())) is not None
    return False
