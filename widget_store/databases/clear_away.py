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


def main(folder: Path) -> None:
    """Wait until standard input ends, which is when the process at its other end has; then clear the folder away."""
    sys.stdin.buffer.read()
    for file in folder.glob("*/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError):
            _stop(int(file.read_text().split("\n", 1)[0]))
    shutil.rmtree(folder, ignore_errors=True)


def _stop(server: int) -> None:
    """Stop a PostgreSQL at once, as nothing in it is worth keeping."""
    deadline = time.monotonic() + _STOPPED_WITHIN_SECONDS
    os.kill(server, signal.SIGQUIT)
    while time.monotonic() < deadline:
        os.kill(server, 0)  # raises once it is gone
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
