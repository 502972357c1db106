"""Run beside a crash test. Once that has ended, however it ended: stop its database server, and delete its files.

It imports nothing slow: it is started with each crash test, and in nearly all of them has nothing to do.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

_STOPPED_WITHIN_SECONDS = 10


def main(folder: Path, only_if_killed: Path) -> None:
    """Wait until standard input ends, which is when the process at its other end has; then clear the folder away.

    Args:
        folder: The databases of the crash test.
        only_if_killed: Another folder of that process, which it uses until its end, and then deletes by itself.
    """
    was_killed = not sys.stdin.buffer.read()
    if was_killed:
        shutil.rmtree(only_if_killed, ignore_errors=True)
    for file in folder.glob("*/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError):
            lines = file.read_text(encoding="utf-8", errors="replace").split("\n")  # Windows: its names are not UTF-8
            sockets = Path(lines[4]) if len(lines) > 4 else folder
            try:
                _stop(int(lines[0]))
            finally:
                if sockets.name.startswith("widget-store-"):  # it may be in another folder, with a shorter name
                    shutil.rmtree(sockets, ignore_errors=True)
    deadline = time.monotonic() + _STOPPED_WITHIN_SECONDS
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:  # on Windows, a file that is still open stays
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _stop(server: int) -> None:
    """Stop a PostgreSQL at once, as nothing in it is worth keeping."""
    if sys.platform == "win32":
        os.kill(server, signal.SIGTERM)  # there this is TerminateProcess; its children notice, and end
        return
    deadline = time.monotonic() + _STOPPED_WITHIN_SECONDS
    os.kill(server, signal.SIGQUIT)
    while time.monotonic() < deadline:
        os.kill(server, 0)  # raises once it is gone
        time.sleep(0.05)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
