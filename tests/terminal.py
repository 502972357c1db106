"""A terminal of a test's own, to press Ctrl-C in and to close."""

import fcntl
import os
import pty
import subprocess
import sys
import termios

from tests.support import ROOT


def widget_store_in_a_terminal(*arguments: str, env: dict[str, str]) -> "tuple[subprocess.Popen[bytes], int]":
    """A running `widget-store`, and the other end of the terminal that it has for itself.

    Who closes that end closes the terminal: the system then sends SIGHUP.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "widget_store", *arguments],
        cwd=ROOT,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_as_terminal,  # noqa: PLW1509 - it makes one call to the system
    )
    os.close(theirs)
    return process, ours


def _take_as_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
