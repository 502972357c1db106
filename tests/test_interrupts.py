"""Ctrl-C is heard, whenever it comes."""

import subprocess
import sys

import pytest

from tests.support import PATIENCE_SECONDS, ROOT, environment

INTERRUPTED_WHILE_PYTHON_TIDIES_UP = """
import signal, sys, time
from widget_store.interrupts import end_in_good_order

class Tidy:
    def __del__(self):
        signal.raise_signal(getattr(signal, sys.argv[1]))

end_in_good_order()
try:
    Tidy()
    print("lost", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("heard")
"""


@pytest.mark.parametrize("which", ["SIGINT", "SIGTERM"])
def test_an_interrupt_that_python_ignores_is_repeated(which: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_PYTHON_TIDIES_UP, which],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "lost\nheard\n", "")
