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

_CLEARED_AWAY_WITHIN_SECONDS = 10
_TRY_AGAIN_SECONDS = 0.05


def main(folder: Path) -> None:
    """Wait until standard input ends, which is when the process at its other end has; then clear the folder away."""
    sys.stdin.buffer.read()
    deadline = time.monotonic() + _CLEARED_AWAY_WITHIN_SECONDS
    for file in folder.glob("*/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError):
            _stop(int(file.read_bytes().split(b"\n", 1)[0]), deadline)
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:  # on Windows, a file that is still open stays
        time.sleep(_TRY_AGAIN_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _stop(server: int, deadline: float) -> None:
    """Stop a PostgreSQL at once, as nothing in it is worth keeping."""
    if sys.platform == "win32":
        os.kill(server, signal.SIGTERM)  # there it asks nobody: the process ends
        return
    os.kill(server, signal.SIGQUIT)
    while time.monotonic() < deadline:
        os.kill(server, 0)  # raises once it is gone; on Windows it would end it
        time.sleep(_TRY_AGAIN_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
