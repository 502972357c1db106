"""Kernel, Interrupt, and the ends that kernels, JupyterLab and terminals have: none kills a store or leaves a process.

A kernel's interrupt is SIGINT to the whole group of its processes, as in JupyterLab and in Notebook.
"""

import contextlib
import os
import pty
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.manager import KernelManager

from tests.support import PATIENCE_SECONDS, ROOT, environment, eventually, lives
from widget_store.databases import Database, stop_embedded_postgres

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="other signals"),
    pytest.mark.slow("starts a kernel, and a store in it"),
]

START = """
from widget_store.lab.store import Store
store = Store.fresh(payment_timeout=30, dispatch_interval=0)
supervisor = store._process.pid
"""
LESSON = """
key = store.buy()
store.crash()
order = store.pay(key)
store.wait_until_dispatched(order)
store.state.orders()
store.crash(at="*/*.mark_order_paid/effect/after")
store.pay(store.buy())
"""


class Kernel:
    """A kernel as a front end has it: it runs cells, and can be interrupted."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.manager = KernelManager()
        self.manager.start_kernel(env=environment(**settings), cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_SECONDS)

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.process.pid)  # type: ignore[union-attr]

    def run(self, code: str, meanwhile: Callable[[], None] = lambda: None) -> tuple[str, str]:
        """What a cell prints, and the name of the error it ends with, if any."""
        request = self.client.execute(code)
        meanwhile()
        printed, error = "", ""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            assert time.monotonic() < deadline, f"the kernel does not end this cell: {code}{printed}"
            with contextlib.suppress(queue.Empty):
                message = self.client.get_iopub_msg(timeout=1)
                if message["parent_header"].get("msg_id") != request:
                    continue
                content: dict[str, Any] = message["content"]
                printed += content.get("text", "")
                error = content.get("ename", error)
                if message["msg_type"] == "status" and content["execution_state"] == "idle":
                    return printed, error

    def interrupt(self) -> None:
        """As `KernelManager.interrupt_kernel` does it, which works in one thread only."""
        os.killpg(self.pid, signal.SIGINT)

    def end(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(public_folder: Path, new_database: Callable[[str], Database]) -> Iterator[Kernel]:
    made = Kernel(public_folder, WIDGET_STORE_DATABASE_URL=new_database("postgresql").url, PYTHONPATH=str(ROOT))
    yield made
    made.end()


def family_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def are_gone(processes: list[psutil.Process]) -> None:
    eventually(lambda: not any(map(lives, processes)), "the end of every process of the kernel")


def test_an_interrupt_kills_no_store_and_its_output_stays(kernel: Kernel) -> None:
    assert kernel.run(START) == ("", "")
    before = kernel.run("print(store.worker_pid(), supervisor)")
    waits = "import time\nprint('here', flush=True)\ntime.sleep(60)"

    def interrupt_soon() -> None:
        eventually(lambda: "here" in str(kernel.client.get_iopub_msg(timeout=PATIENCE_SECONDS)["content"]), "the cell")
        kernel.interrupt()

    assert kernel.run(waits, interrupt_soon)[1] == "KeyboardInterrupt"
    assert kernel.run("print(store.worker_pid(), supervisor)") == before
    assert kernel.run("print(store.is_running(), store.deaths)")[0] == "True []\n"


@pytest.mark.thorough("interrupts a lesson at many moments")
@pytest.mark.slow("fifty interrupts, each with the cell that it hits", weight=5)
def test_no_interrupt_at_any_moment_of_a_lesson_kills_a_store_or_leaves_a_process(kernel: Kernel) -> None:
    seed = random.randrange(10**6)  # noqa: S311 - it is printed when the test fails
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311
    assert kernel.run(START) == ("", "")
    begun = time.monotonic()
    assert kernel.run(LESSON)[1] == ""
    takes = time.monotonic() - begun
    hit = 0
    for _ in range(50):
        timer = threading.Timer(chance.uniform(0, takes), kernel.interrupt)
        timer.start()
        error = kernel.run(LESSON)[1]
        hit += error == "KeyboardInterrupt"
        timer.join()
        said = kernel.run("print(store.is_running(), store._process.pid == supervisor)")
        if said[1] == "KeyboardInterrupt":  # it came between two cells
            said = kernel.run("print(store.is_running(), store._process.pid == supervisor)")
        assert said == ("True True\n", "")
    assert hit > 10
    processes = family_of(kernel.pid)
    kernel.end()
    are_gone(processes)


@pytest.mark.thorough("interrupts the start of a store at many moments")
@pytest.mark.slow("a store is started twenty times", weight=3)
def test_an_interrupt_during_a_start_leaves_no_store_that_nobody_knows_of(kernel: Kernel) -> None:
    chance = random.Random(13)  # noqa: S311
    begun = time.monotonic()
    assert kernel.run(START)[1] == ""
    takes = time.monotonic() - begun
    for _ in range(20):
        timer = threading.Timer(chance.uniform(0, takes), kernel.interrupt)
        timer.start()
        kernel.run(START)
        timer.join()
        assert "" in (kernel.run(START)[1], kernel.run(START)[1])  # the interrupt may have come between the cells
        supervisors = [
            process
            for process in family_of(kernel.pid)
            if "serve" in process.cmdline() and process.ppid() == kernel.pid and lives(process)
        ]
        assert len(supervisors) == 1


END: dict[str, Callable[[Kernel], None]] = {
    "shut down": lambda kernel: kernel.manager.shutdown_kernel(now=False),
    "restarted": lambda kernel: kernel.manager.restart_kernel(now=True),
    "killed": lambda kernel: os.kill(kernel.pid, signal.SIGKILL),
    "terminated": lambda kernel: os.kill(kernel.pid, signal.SIGTERM),
}


@pytest.mark.parametrize("end", END.values(), ids=END.keys())
def test_a_kernel_that_ends_leaves_no_store(kernel: Kernel, end: Callable[[Kernel], None]) -> None:
    assert kernel.run(START)[1] == ""
    assert (
        kernel.run("store.close()\nfrom widget_store.lab.workers import Workers\nworkers = Workers.fresh(2)")[1] == ""
    )
    assert kernel.run("other = Store().start()")[1] == ""
    processes = family_of(kernel.pid)
    assert processes
    end(kernel)
    are_gone(processes)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_server_and_a_terminal_that_end_leave_no_store(
    public_folder: Path, data_dir: Path, which: signal.Signals
) -> None:
    """A server that runs a lesson by itself, in a terminal of its own: a signal to its group is Ctrl-C, or its end."""
    script = public_folder / f"lesson-{which}.py"
    script.write_text(
        "import sys, time\n"
        "from jupyter_client.manager import start_new_kernel\n"
        "manager, client = start_new_kernel()\n"
        f"reply = client.execute({START!r} + 'print(supervisor)', reply=True, timeout=60)\n"
        "print('started', reply['content']['status'], flush=True)\n"
        "time.sleep(600)\n"
    )
    terminal, theirs = pty.openpty()
    server = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment(WIDGET_STORE_DATA_DIR=str(data_dir), PYTHONPATH=str(ROOT)),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        assert server.stdout is not None
        started = server.stdout.readline()
        assert started == "started ok\n", started + server.stdout.read()
        processes = [process for process in family_of(server.pid) if "postgres" not in process.name()]
        assert any("serve" in process.cmdline() for process in processes)
        os.killpg(server.pid, which)
        server.wait(PATIENCE_SECONDS)
        are_gone(processes)
    finally:
        os.close(terminal)
        if server.poll() is None:
            server.kill()
        if server.stdout is not None:
            server.stdout.close()
        eventually(lambda: stop_embedded_postgres(data_dir), "the end of the database")
