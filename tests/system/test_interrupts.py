"""Ctrl-C is heard, whenever it comes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.support import INTERRUPTED, PATIENCE_SECONDS, ROOT, command, environment
from widget_store.databases import Database
from widget_store.system.windows import AS_ON_WINDOWS

INTERRUPTED_WHILE_PYTHON_TIDIES_UP = """
import signal, sys, time
from widget_store.system.interrupts import end_in_good_order

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


@pytest.mark.parametrize("pre_ping", [True, False])
def test_an_interrupt_in_the_midst_of_a_statement_is_not_told_as_an_error_of_the_database(
    new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch, pre_ping: bool
) -> None:
    """Seen in a kernel: Interrupt came when psycopg had sent a statement, and the cell ended with ProgrammingError."""
    engine = new_database("postgresql").engine(pool_pre_ping=pre_ping)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    wait = psycopg.waiting.wait

    def interrupted(statement: Any, *_: Any, **__: Any) -> Any:
        try:
            next(statement)
        except StopIteration as has_nothing_to_send:
            return has_nothing_to_send.value
        monkeypatch.setattr(psycopg.waiting, "wait", wait)
        statement.close()  # as Python does when an interrupt comes within it
        raise KeyboardInterrupt

    monkeypatch.setattr(psycopg.waiting, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt), engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_sleep(600)"))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1  # the pool is as good as before
    engine.dispose()


WHILE_IT_IMPORTS = """
import os, signal, sysconfig
os.kill(os.getpid(), signal.SIGINT)
if os.path.exists(itself := os.path.join(sysconfig.get_path("stdlib"), os.path.basename(__file__))):
    exec(open(itself).read())
"""


@pytest.mark.skipif(AS_ON_WINDOWS, reason="there a process can't interrupt itself alone")
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("argparse", "serve"),
        ("argparse", "reset"),
        ("argparse", "crash-test"),
        ("rich", "crash-test"),
        ("rich", "bench"),
        ("rich", "progress"),
    ],
)
@pytest.mark.slow("starts a command")
def test_an_interrupt_while_a_command_imports_prints_no_traceback(tmp_path: Path, module: str, name: str) -> None:
    (tmp_path / f"{module}.py").write_text(WHILE_IT_IMPORTS)
    done = command(name, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]), WIDGET_STORE_DATA_DIR=str(tmp_path))
    assert "Traceback" not in done.stderr
    assert done.returncode in INTERRUPTED
