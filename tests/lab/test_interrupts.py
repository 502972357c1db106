"""A notebook's menu *Kernel, Interrupt*, and the end of kernels and terminals, with real kernels and real signals."""

import contextlib
import os
import queue
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.support import PATIENCE_SECONDS, ROOT, environment, eventually, lives, new_key
from tests.terminal import widget_store_in_a_terminal
from widget_store.databases import Database

pytestmark = [
    pytest.mark.slow("starts kernels with a store in each, and waits for their ends", weight=4),
    pytest.mark.skipif(sys.platform == "win32", reason="there a kernel is interrupted by an event, and no signal"),
]

INTERRUPTS = 50
SEED = 20_240_613
MARK = "WIDGET_STORE_TEST_KERNEL"
STARTS = [("store = Store.fresh(**SETTINGS)", 2.0), ("store.restart()", 2.0)]
CELLS = [
    ("store.pay(store.buy())", 0.1),
    ("store.wait_until_dispatched(store.pay(store.buy()))", 0.2),
    ("store.crash(); store.wait_until_back()", 0.4),
    ("store.crash(at='*/*.mark_order_paid/effect/after'); store.pay(store.buy())", 0.4),
    ("store.state.orders(), store.state.workflows(), store.state.books()", 0.05),
    ("store.restock(); store.worker_pid()", 0.05),
]
"""What lessons do, and seconds in which it is usually done."""


class Kernel:
    """A kernel as JupyterLab has it: its own process group, which an interrupt reaches as a whole."""

    def __init__(self, url: str) -> None:
        self.mark = new_key()
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(env=environment(WIDGET_STORE_DATABASE_URL=url, **{MARK: self.mark}), cwd=str(ROOT))
        self._client: BlockingKernelClient = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE_SECONDS)

    @property
    def pid(self) -> int:
        return int(self._manager.provisioner.pid)  # type: ignore[union-attr]

    def begin(self, cell: str) -> str:
        """Begin a cell, and return its name once it runs. It runs until it is interrupted, when it is done, too.

        An interrupt that hits the kernel's own code, before a cell or behind it, can cost the cell's answer.
        """
        request = self._client.execute(
            f"is_done = False; print('begun', flush=True)\n{cell}\nis_done = True\nimport time; time.sleep(600)",
            stop_on_error=False,
        )
        while True:
            told = self._client.get_iopub_msg(timeout=PATIENCE_SECONDS)
            if told["msg_type"] == "stream" and told["parent_header"].get("msg_id") == request:
                return str(request)

    def end(self, request: str) -> dict[str, Any]:
        """The answer to a cell; an error in it has the keys `ename` and `evalue`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(queue.Empty):
                answer = self._client.get_shell_msg(timeout=max(0.0, deadline - time.monotonic()))
                if answer["parent_header"].get("msg_id") == request:
                    return dict(answer["content"])
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGUSR1)  # it prints where it stands
                pytest.fail("the kernel does not answer")

    def run(self, cell: str) -> str:
        """What a cell's last line is, as text."""
        request = self._client.execute(cell, user_expressions={"it": "it"})
        answer = self.end(request)
        assert answer["status"] == "ok", answer
        return str(answer["user_expressions"]["it"].get("data", {}).get("text/plain", ""))

    def interrupt(self, request: str) -> None:
        """Interrupt a cell that runs."""
        self._manager.interrupt_kernel()
        answer = self.end(request)
        assert answer.get("ename") == "KeyboardInterrupt", answer

    def family(self) -> list[psutil.Process]:
        """Every process that it or one of its own has started, also an orphan; not the kernel itself."""
        return [each for each in psutil.process_iter() if each.pid != self.pid and _has(each, self.mark)]

    def shut_down(self) -> None:
        self._manager.shutdown_kernel()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def let_go(self) -> None:
        self._client.stop_channels()
        if self._manager.is_alive():
            self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()


def _has(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return lives(process) and process.environ().get(MARK) == mark
    return False


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):  # it may end while it is looked at
        return process.cmdline()
    return []


@pytest.fixture
def url(new_database: Callable[[str], Database]) -> str:
    return new_database("postgresql").url


@pytest.fixture
def kernel(url: str) -> Iterator[Kernel]:
    started = Kernel(url)
    try:
        started.run("import faulthandler, signal, sys; it = faulthandler.register(signal.SIGUSR1, file=sys.__stderr__)")
        started.run("from widget_store.lab import Store, Workers; it = None")
        started.run("SETTINGS = {'payment_timeout': 5, 'dispatch_interval': 0.01}; it = None")
        yield started
    finally:
        started.let_go()


def test_no_interrupt_at_any_moment_kills_a_store_or_leaves_a_process(kernel: Kernel) -> None:
    chance = random.Random(SEED)  # noqa: S311 - moments, no secrets
    kernel.run("store = Store.fresh(**SETTINGS); it = None")
    hits = 0
    for number in range(INTERRUPTS):
        # A start takes seconds. So few of them are interrupted, and the other cells have the more interrupts.
        cell, seconds = chance.choice(STARTS if number % 16 == 15 else CELLS)
        before = kernel.run("it = store._process.pid")
        request = kernel.begin(cell)
        time.sleep(chance.uniform(0, seconds))
        kernel.interrupt(request)
        hits += kernel.run("it = is_done") == "False"
        if (cell, seconds) in CELLS:
            after = kernel.run("it = store._process.pid if store.is_running() else 0")
            assert after == before, (number, cell, "the store was killed", kernel.run("it = store.output"))
        kernel.run("it = store.start().pay(store.buy()); store.restock()")  # usable, whatever was interrupted
    assert hits > INTERRUPTS // 4, "the interrupts came when nothing ran"
    assert kernel.run("store.wait_until_dispatched(it); it = int(store.state.books()['missing'])") == "0"
    # Not what they have started: from Python 3.14 on, a fork server has the words of the command behind its own.
    supervisors = [each for each in kernel.family() if {"-m", "serve"} <= set(_command(each))]
    assert len(supervisors) == 1, supervisors
    kernel.run("store.close(); it = None")
    eventually(lambda: not [each for each in kernel.family() if "serve" in _command(each)], "the end of the store")
    kernel.shut_down()
    eventually(lambda: not kernel.family(), "the end of all that the kernel has started")


@pytest.mark.parametrize("end", [Kernel.shut_down, Kernel.kill], ids=["shut down", "killed"])
@pytest.mark.parametrize("cell", ["opened = Store.fresh()", "opened = Workers.fresh(2)"], ids=["store", "workers"])
def test_a_kernel_that_ends_leaves_no_process(kernel: Kernel, cell: str, end: Callable[[Kernel], None]) -> None:
    kernel.run(f"{cell}; it = opened.buy()")
    assert len(kernel.family()) >= 2
    end(kernel)
    eventually(lambda: not kernel.family(), "the end of all that the kernel has started")


def test_a_kernel_killed_while_its_store_starts_leaves_no_process(kernel: Kernel) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a moment, no secret
    kernel.begin("Store.fresh()")
    eventually(kernel.family, "the beginning of a store")
    time.sleep(chance.uniform(0, 1))
    kernel.kill()
    eventually(lambda: not kernel.family(), "the end of all that the kernel has started")


def test_workers_do_not_hear_the_interrupt(kernel: Kernel) -> None:
    alive = kernel.run("workers = Workers.fresh(2, payment_timeout=30); it = workers.alive()")
    kernel.interrupt(kernel.begin("workers.buy(); workers.wait_until_idle()"))
    for _ in range(3):
        kernel.interrupt(kernel.begin("workers.add()"))
    assert kernel.run("it = workers.alive()[:2]") == alive
    assert kernel.run("it = all(worker.name for worker in workers._workers)") == "True"


def test_what_a_store_printed_is_there_after_an_interrupt_and_after_its_death(kernel: Kernel) -> None:
    kernel.run("store = Store.fresh(); it = None")
    kernel.interrupt(kernel.begin("store.buy()"))
    kernel.run("store.crash(); store.wait_until_back(); it = None")
    assert "worker-1 has died (killed by signal 9), and is started again." in kernel.run("it = store.output")
    kernel.run("import os, signal; os.kill(store._process.pid, signal.SIGKILL); it = store._process.wait()")
    said = kernel.run("it = store.output")
    assert "worker-1 has died" in said
    assert "The store was killed by SIGKILL." in said
    assert "The store was stopped." in kernel.run("store.restart(); store.stop(); it = store.output")


@pytest.mark.parametrize("how", ["closed", "Ctrl-C"])
def test_a_store_in_a_terminal_ends_with_it_and_by_one_ctrl_c(url: str, how: str) -> None:
    mark = new_key()
    store, ours = widget_store_in_a_terminal(
        *("serve", "--port", "0", "--workers", "2"), env=environment(WIDGET_STORE_DATABASE_URL=url, **{MARK: mark})
    )
    try:
        said = b""
        while b"ready http" not in said:
            said += os.read(ours, 4096)
        assert any(_has(each, mark) for each in psutil.process_iter())
        if how == "Ctrl-C":
            os.write(ours, b"\x03")
            assert store.wait(PATIENCE_SECONDS) == 0
    finally:
        os.close(ours)  # the system sends SIGHUP
    store.wait(PATIENCE_SECONDS)
    eventually(lambda: not any(_has(each, mark) for each in psutil.process_iter()), "the end of the whole store")
