"""What several test modules need: a served store, its customers, and the invariants in plain SQL."""

import contextlib
import multiprocessing as mp
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import sqlalchemy as sa

from widget_store.databases import Database
from widget_store.schema import FULL_SHELF
from widget_store.system.windows import AS_ON_WINDOWS, SWITCH

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
INTERRUPTED = {130, -signal.SIGINT}
"""The exit statuses of a command that Ctrl-C has ended: a shell shows 130 for both. Python takes the second, whatever
the command returns, when the signal came in the midst of an `exec`, which every dataclass and named tuple does."""
PATIENCE_SECONDS = 60.0
"""How long anything is waited for: much longer than it takes, so that only a broken store gets there."""
FAST = {"WIDGET_STORE_DISPATCH_INTERVAL": "0.01"}
NEVER_ANSWERS = "postgresql+psycopg://somebody:correct-horse@127.0.0.1:1/nowhere"
"""A PostgreSQL URL with a password in it, where nothing listens."""


def eventually(look: Callable[[], T], what: str) -> T:
    """The first true value that `look` returns."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(0.02)
    return seen


def lives(process: psutil.Process) -> bool:
    """Whether a process runs. An orphan that has ended is still listed until the system's first process takes note."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def new_key() -> str:
    """A customer's idempotency key that no other test has."""
    return uuid.uuid4().hex


def environment(**settings: str) -> dict[str, str]:
    """The environment for a process of the store: this one's, with only these settings.

    Without what the `make` that runs the tests says to a `make` that it starts: it would warn that it is another one's.
    """
    kept = {name: value for name, value in os.environ.items() if name == SWITCH or not name.startswith("WIDGET_STORE_")}
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        kept.pop(name, None)
    return kept | settings


def command(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run `widget-store` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "widget_store", *arguments],
        cwd=ROOT,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def cut_connections(database: Database) -> None:
    """End every session of a PostgreSQL database, as a restart of its server does."""
    with database.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@dataclass
class Serving:
    """A running `widget-store serve`, and the customer in front of it."""

    process: "subprocess.Popen[bytes] | Forked"
    output: Path
    open_client: httpx.Client | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        ready = re.search(r"^ready (http://\S+)$", self.output.read_text(), re.MULTILINE)
        assert ready, f"not ready yet: {self.output.read_text()}"
        return ready[1]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def client(self) -> httpx.Client:
        if self.open_client is None:
            self.open_client = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)
        return self.open_client

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"the store ended: {self.output.read_text()}"
        return "ready http" in self.output.read_text()

    def buy(self, key: str) -> httpx.Response:
        return self.client.post(f"/checkout/{key}")

    def pay(self, key: str, status: str = "paid", **headers: str) -> httpx.Response:
        return self.client.post(f"/payment_webhook/{key}/{status}", headers=headers)

    def sell(self, key: str, status: str = "paid") -> int:
        """Buy and pay, without anything in between; the order's id."""
        assert self.buy(key).text == key
        answer = self.pay(key, status)
        assert answer.status_code == 200, answer.text
        return int(answer.text)

    def sells(self) -> bool:
        """Whether somebody can buy and pay just now, on a new connection."""
        if self.open_client is not None:
            self.open_client.close()
            self.open_client = None
        with contextlib.suppress(httpx.TransportError):
            key = new_key()
            return self.buy(key).status_code == 200 and self.pay(key).status_code == 200
        return False

    def order_status(self, order_id: int) -> int:
        return int(self.client.get(f"/order/{order_id}").json()["order_status"])

    def inventory(self) -> int:
        return int(self.client.get("/product").json()["inventory"])

    def persistently(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        """Repeat a call until somebody answers, as a customer does whose store has just been killed."""

        def answers() -> list[httpx.Response]:
            with contextlib.suppress(httpx.TransportError):
                return [call()]
            return []

        return eventually(answers, "an answer from a store that was killed")[0]

    def worker(self) -> psutil.Process:
        """The process that serves, once there is one."""
        return psutil.Process(self.persistently(lambda: self.client.get("/healthz")).json()["pid"])

    def kill_worker(self) -> None:
        """SIGKILL to the process that serves; returns when it is gone."""
        worker = self.worker()
        worker.kill()
        eventually(lambda: not lives(worker), "the end of a worker that was killed")

    def family(self) -> list[psutil.Process]:
        """The supervisor and all that it started."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; the exit status."""
        if self.open_client is not None:
            self.open_client.close()
            self.open_client = None
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def starting(folder: Path, *arguments: str, within: Sequence[str] = (), **settings: str) -> Iterator[Serving]:
    """`widget-store serve` on a free port, not ready yet; it is ended with the block, whatever happened in it.

    With `within`, another command runs it: one that puts it elsewhere.
    """
    output = folder / f"serve-{new_key()}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [*within, sys.executable, "-m", "widget_store", "serve", "--port", "0", *arguments],
            cwd=ROOT,
            env=environment(**FAST | settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    with _ended(Serving(process, output)) as store:
        yield store


@contextlib.contextmanager
def serving_cold(folder: Path, *arguments: str, **settings: str) -> Iterator[Serving]:
    """`widget-store serve` on a free port, ready: started as a user starts it, for tests of the start and the end."""
    with starting(folder, *arguments, **settings) as store:
        eventually(store.is_ready, "a store that is ready")
        yield store


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, **settings: str) -> Iterator[Serving]:
    """The same for a tenth of the work, for tests of what a store does once it runs.

    Most of a start is the import of DBOS, and most of the tests' time was starts. Here a process that has imported
    everything forks the supervisor, and the supervisor forks its workers. All else is as in `serving_cold`.
    """
    if AS_ON_WINDOWS:
        with serving_cold(folder, *arguments, **settings) as store:
            yield store
        return
    output = folder / f"serve-{new_key()}.log"
    process = Forked(["serve", "--port", "0", *arguments], environment(**FAST | settings), output)
    with _ended(Serving(process, output)) as store:
        eventually(store.is_ready, "a store that is ready")
        yield store


@contextlib.contextmanager
def _ended(store: Serving) -> Iterator[Serving]:
    try:
        yield store
    finally:
        if store.process.poll() is None:
            store.stop()
        if store.open_client is not None:
            store.open_client.close()


class Forked:
    """A `widget-store` command, forked from a process that has imported everything; used like a `subprocess.Popen`."""

    def __init__(self, arguments: list[str], variables: dict[str, str], output: Path) -> None:
        context = mp.get_context("forkserver")
        warm = [
            "tests.support",
            "widget_store.serving.supervisor",
            "widget_store.serving.warm",
            "widget_store.lab.store_workload",
        ]
        context.set_forkserver_preload(warm)
        self._process = context.Process(target=_run_forked, args=(arguments, variables, output))
        self._process.start()
        output.touch()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"process {self.pid} did not end within {timeout} s"
        return self._process.exitcode

    def send_signal(self, how: int) -> None:
        os.kill(self.pid, how)

    def kill(self) -> None:
        self._process.kill()


def end_fork_server() -> None:
    """End the process that forks, and its helper. Python does it only when this process ends: later than we look."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # noqa: SLF001


def _run_forked(arguments: list[str], variables: dict[str, str], output: Path) -> None:
    """The whole life of a forked command: what the kernel does at the start of a process, then `main`."""
    from widget_store import cli
    from widget_store.serving import supervisor
    from widget_store.system import processes

    with output.open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(ROOT)
    processes.end_with_parent()  # the tests may be killed
    for module in (processes, supervisor):
        setattr(module, "warm_processes", lambda *_: mp.get_context("fork"))  # noqa: B010 - a context of another type
    sys.exit(cli.main(arguments))


@dataclass(frozen=True)
class Books:
    """What the database says, read without the store's help."""

    database: Database

    def store(self, sql: str, **values: Any) -> list[Any]:
        """The rows of a statement on the store's own tables."""
        return _run(self.database.url, sql, values)

    def system(self, sql: str, **values: Any) -> list[Any]:
        """The rows of a statement on DBOS's tables; their schema is written `{dbos}`."""
        return _run(self.database.system_url, sql.format(dbos="" if self.database.is_sqlite else "dbos."), values)

    def set_inventory(self, widgets: int) -> None:
        """Take widgets off the shelf, or put some there, as if the store had opened with so many."""
        self.store(
            "UPDATE products SET stock_added = stock_added - inventory + :widgets, inventory = :widgets"
            " RETURNING inventory",
            widgets=widgets,
        )

    def at_rest(self) -> bool:
        """Whether no workflow is running."""
        running = "SELECT count(*) FROM {dbos}workflow_status WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
        return bool(self.system(running)[0][0] == 0)

    def violations(self) -> list[str]:
        """Each invariant that does not hold, once no workflow is running any more."""
        eventually(self.at_rest, "the end of all workflows")
        ((stock_added, inventory),) = self.store("SELECT stock_added, inventory FROM products")
        statuses = dict(self.store("SELECT order_status, count(*) FROM orders GROUP BY order_status"))
        held = sum(statuses.get(status, 0) for status in (PENDING, PAID, DISPATCHED))
        ((checkouts,),) = self.system("SELECT count(*) FROM {dbos}workflow_status WHERE name = 'checkout_workflow'")
        rules = {
            f"{stock_added} added less {inventory} on the shelf is not the {held} that orders hold": (
                stock_added - inventory == held
            ),
            f"{inventory} widgets are more than a full shelf": inventory <= FULL_SHELF,
            f"{statuses.get(PENDING, 0)} orders were left pending": PENDING not in statuses,
            f"{sum(statuses.values())} orders for {checkouts} keys": sum(statuses.values()) == checkouts,
            f"{statuses.get(PAID, 0)} paid orders were never dispatched": PAID not in statuses,
        }
        return [violation for violation, holds in rules.items() if not holds]


CANCELLED, PENDING, DISPATCHED, PAID = -1, 0, 1, 2


def _run(url: str, sql: str, values: dict[str, Any]) -> list[Any]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        rows: Sequence[Any] = connection.execute(sa.text(sql), values).all()
    return [tuple(row) for row in rows]
