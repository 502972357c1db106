"""A soak: customers buy and pay over HTTP while their store is killed at random moments, and then the books are read.

The crash test kills at places that it knows. This one does not know where: many customers at once, on a real supervised
store, killed whenever it comes to pass. Each customer notes what they were told, and all of it must be true in the end.
"""

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil
import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from widget_store.crashtest.looking import at_rest, looking_at
from widget_store.databases import Database
from widget_store.databases.throwaway import open_databases
from widget_store.errors import StoreDidNotStart
from widget_store.lab import invariants
from widget_store.lab.order_status import status_in_words
from widget_store.lab.store_workload import authors_violations
from widget_store.schema import OrderStatus
from widget_store.settings import PREFIX, Settings, read_settings
from widget_store.system.processes import descendant
from widget_store.system.windows import SWITCH
from widget_store.words import counted

CUSTOMERS = 16
_LONGEST_LIFE_SECONDS = 7.0
_READY_WITHIN_SECONDS = 60.0
_ANSWER_WITHIN_SECONDS = 90.0
_SILENT_AFTER_SECONDS = 65.0
_REST_WITHIN_SECONDS = 120.0
_STOP_WITHIN_SECONDS = 6.0
_LOOK_AGAIN_SECONDS = 0.02
_PAYMENT_TIMEOUT_SECONDS = 5
_DISPATCH_INTERVAL_SECONDS = 0.01


@dataclass(frozen=True)
class Plan:
    """What a soak is to do.

    Attributes:
        seconds: For how long. Then the customers finish what they have begun, and the books are read.
        seed: What the customers and the killer decide.
        app_file: A learner's file; None for the store's own checkout.
        workers: How many workers serve. Whichever answers when it is time to kill is killed.
    """

    seconds: float
    seed: int
    app_file: Path | None = None
    workers: int = 1


@dataclass(frozen=True)
class Report:
    """What came of a soak.

    Attributes:
        seconds: How long customers came, and the store was killed.
        kills: How often it was killed.
        checkouts: Purchases that were answered to their end: paid for, declined, or sold out.
        answers: HTTP answers, of all kinds.
        longest_outage: Seconds between a kill and the next answer.
        violations: A sentence for each.
        seed: With it, customers and killer decide the same again; what their threads meet is up to the machine.
    """

    seconds: float
    kills: int
    checkouts: int
    answers: int
    longest_outage: float
    violations: list[str]
    seed: int

    @property
    def passed(self) -> bool:
        """Whether all is well, and something was tried."""
        return not self.violations and self.kills > 0 and self.checkouts > 0


def soak(
    plan: Plan,
    settings: Settings | None = None,
    progress: Callable[[float, str], None] = lambda _seconds, _so_far: None,
) -> Report:
    """Sell to many customers at once, and kill the store again and again.

    Args:
        plan: What to do.
        settings: Which kind of database to use; those of the environment by default. It is a database of its own.
        progress: Told how many seconds have passed, and in words what has happened.

    Raises:
        DatabaseUnavailable: When there is no database to test on.
        StoreDidNotStart: When the store can't be started, or ended for good.
    """
    with ExitStack() as stack:
        databases = stack.enter_context(open_databases(settings or read_settings()))
        with databases.template():
            pass  # the store makes its tables itself
        database = stack.enter_context(databases.copy())
        crowd = stack.enter_context(Crowd(plan.seed))
        store = stack.enter_context(closing(_Store(database, plan)))
        stack.callback(crowd.disperse)  # before the store ends: nobody shall ask for it any longer
        return _Soak(plan, store, crowd, progress).run(database)


class _Soak:
    def __init__(self, plan: Plan, store: "_Store", crowd: "Crowd", progress: Callable[[float, str], None]) -> None:
        self._plan = plan
        self._store = store
        self._crowd = crowd
        self._progress = progress
        self._kills = 0
        self._longest_outage = 0.0

    def run(self, database: Database) -> Report:
        self._store.wait_until_ready()
        started = time.monotonic()
        self._crowd.come_to(self._store.url)
        self._kill_again_and_again(started, random.Random(self._plan.seed))  # noqa: S311 - chance, not a secret
        killed_for = time.monotonic() - started
        self._progress(self._plan.seconds, f"{self._so_far()}; the last customers")
        self._crowd.finish()
        with looking_at(database) as connection:
            violations = [*_unrest(connection)]
            self._store.close()
            violations += [*invariants.violations(connection), *self._crowd.violations(connection)]
        violations += authors_violations(self._plan.app_file, database)
        return Report(
            seconds=round(killed_for, 1),
            kills=self._kills,
            checkouts=self._crowd.checkouts,
            answers=self._crowd.answers,
            longest_outage=round(self._longest_outage, 2),
            violations=violations,
            seed=self._plan.seed,
        )

    def _kill_again_and_again(self, started: float, chance: random.Random) -> None:
        while True:
            # Squared, so that many deaths come soon after a birth, while the one before is still being made good.
            dies_at = time.monotonic() + _LONGEST_LIFE_SECONDS * chance.random() ** 2
            while (now := time.monotonic()) < dies_at:
                self._progress(now - started, self._so_far())
                if now - started > self._plan.seconds:
                    return
                time.sleep(_LOOK_AGAIN_SECONDS)
            worker = self._store.worker()  # of several, whichever answers
            with contextlib.suppress(psutil.NoSuchProcess):  # it was quicker, and died by itself
                worker.kill()
                self._kills += 1
            self._store.worker(other_than=worker)
            self._longest_outage = max(self._longest_outage, time.monotonic() - dies_at)

    def _so_far(self) -> str:
        return f"{counted(self._kills, 'kill')}, {counted(self._crowd.checkouts, 'checkout')}"


def _unrest(connection: sa.Connection) -> Iterator[str]:
    deadline = time.monotonic() + _REST_WITHIN_SECONDS
    while not at_rest(connection):
        if time.monotonic() > deadline:
            yield f"rest: workflows still run {_REST_WITHIN_SECONDS:.0f} s after the last customer left"
            return
        time.sleep(_LOOK_AGAIN_SECONDS)


class Crowd:
    """Customers who all come at once, and note what they are told.

    Args:
        seed: What they decide.
        size: How many they are.
    """

    def __init__(self, seed: int, size: int = CUSTOMERS) -> None:
        self._customers = [_Customer(f"{seed}-{number}") for number in range(size)]
        self._threads = ThreadPoolExecutor(size)
        self._shopping: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disperse()
        self._threads.shutdown(cancel_futures=True)

    def come_to(self, url: str) -> None:
        """Begin to buy and pay, and go on with it."""
        self._shopping = [self._threads.submit(customer.shop, url) for customer in self._customers]

    def finish(self) -> None:
        """Let every customer bring to an end what they have begun."""
        for customer in self._customers:
            customer.is_last_purchase.set()
        for shopping in self._shopping:
            shopping.result()

    def disperse(self) -> None:
        """Stop asking, answered or not."""
        for customer in self._customers:
            customer.is_gone.set()

    @property
    def checkouts(self) -> int:
        """How many purchases were answered to their end."""
        return sum(len(customer.told) for customer in self._customers)

    @property
    def answers(self) -> int:
        """How many HTTP answers they had, of all kinds."""
        return sum(customer.answers for customer in self._customers)

    def violations(self, connection: sa.Connection) -> list[str]:
        """What they should not have been told, and what they were told and is not so."""
        surprises = [surprise for customer in self._customers for surprise in customer.surprises]
        return [*surprises, *_broken_promises(connection, [customer.told for customer in self._customers])]


@dataclass(frozen=True)
class _Promise:
    """What a customer was told of a purchase. Who finds the shelf empty is told no order's number."""

    end: OrderStatus
    order_id: int | None = None


class _Customer:
    """Buys again and again, each time with a new key, and repeats each request until it is answered."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._chance = random.Random(name)  # noqa: S311 - chance, not a secret
        self._http = httpx.Client(trust_env=False, timeout=_SILENT_AFTER_SECONDS)
        self._url = ""
        self.is_last_purchase = threading.Event()
        self.is_gone = threading.Event()
        self.told: dict[str, _Promise] = {}
        self.surprises: list[str] = []
        self.answers = 0
        self._purchases = 0

    def shop(self, url: str) -> None:
        self._url = url
        with self._http:
            while not (self.is_last_purchase.is_set() or self.is_gone.is_set()):
                try:
                    self._purchases += 1
                    self._buy_one(f"{self._name}-{self._purchases}")
                except _NoAnswer as silence:
                    if not self.is_gone.is_set():
                        self.surprises.append(f"answers: {silence}")
                    return

    def _buy_one(self, key: str) -> None:
        if not self._check_out(key):
            return
        intends = self._chance.choices(["paid", "failed", "leave"], [70, 22, 8])[0]
        if intends == "leave":
            return
        for _ in range(self._times()):
            self._pay(key, intends)
        promise = self.told.get(key)
        if promise is not None and promise.end == OrderStatus.DISPATCHED:
            self._follow(promise)
        if self._chance.random() < 0.05:
            self._restock()

    def _check_out(self, key: str) -> bool:
        """Whether there is something to pay for."""
        if self._times() == 1:
            clicks = [self._ask("POST", f"/checkout/{key}")]
        else:
            with ThreadPoolExecutor(2) as both:
                clicks = [*both.map(lambda _click: self._ask("POST", f"/checkout/{key}"), range(2))]
        if {click.status_code for click in clicks} == {409}:
            self._note(key, _Promise(OrderStatus.CANCELLED))
            self._restock()
            return False
        for click in clicks:
            if (click.status_code, click.text) != (200, key):
                self._surprise(f"buying {key}", click)
        return True

    def _pay(self, key: str, status: str) -> None:
        answer = self._ask("POST", f"/payment_webhook/{key}/{status}")
        refused = re.search(r"Order (\d+) was cancelled", answer.text)
        if answer.status_code == 200 and answer.text.isdecimal():
            end = OrderStatus.DISPATCHED if status == "paid" else OrderStatus.CANCELLED
            self._note(key, _Promise(end, int(answer.text)))
        elif answer.status_code == 409 and status == "paid" and refused:  # it came after the timeout
            self._note(key, _Promise(OrderStatus.CANCELLED, int(refused[1])))
        else:
            self._surprise(f"paying {key} ({status})", answer)

    def _follow(self, promise: _Promise) -> None:
        """Look at the order until it is dispatched; so no more orders are under way than there are customers."""
        deadline = time.monotonic() + _ANSWER_WITHIN_SECONDS
        while True:
            answer = self._ask("GET", f"/order/{promise.order_id}")
            if answer.status_code != 200:
                self._surprise(f"following order {promise.order_id}", answer)
                return
            if answer.json()["order_status"] == promise.end:
                return
            if time.monotonic() > deadline:
                self._surprise(f"following order {promise.order_id} for {_ANSWER_WITHIN_SECONDS:.0f} s", answer)
                return
            time.sleep(5 * _LOOK_AGAIN_SECONDS)

    def _restock(self) -> None:
        answer = self._ask("POST", "/restock")
        if answer.status_code != 200:
            self._surprise("restocking", answer)

    def _note(self, key: str, promise: _Promise) -> None:
        before = self.told.setdefault(key, promise)
        if before != promise:
            self.surprises.append(f"promises: {key} was told {before}, and then {promise}")

    def _surprise(self, what: str, answer: httpx.Response) -> None:
        self.surprises.append(f"answers: {what} was answered with {answer.status_code}, {answer.text!r}")

    def _times(self) -> int:
        return 2 if self._chance.random() < 0.2 else 1

    def _ask(self, method: str, path: str) -> httpx.Response:
        """Ask until there is an answer."""
        deadline = time.monotonic() + _ANSWER_WITHIN_SECONDS
        reason = ""
        while time.monotonic() < deadline and not self.is_gone.is_set():
            try:
                answer = self._http.request(method, self._url + path)
            except httpx.ReadTimeout:
                break  # neither an answer nor an error: that is what a store must never do
            except httpx.TransportError as lost:
                reason = str(lost)
            else:
                self.answers += 1
                if answer.status_code not in {503, 504}:  # "not now" and "not yet": ask again
                    return answer
                reason = answer.text
            time.sleep(_LOOK_AGAIN_SECONDS)
        raise _NoAnswer(f"{method} {path} was not answered in time: {reason or 'no answer at all'}")


class _NoAnswer(Exception):
    """Nobody answered a customer who asked again and again."""


def _broken_promises(connection: sa.Connection, customers: list[dict[str, _Promise]]) -> Iterator[str]:
    """What the customers were told, compared with the orders and with DBOS's list of checkouts."""
    orders = {row.order_id: row.order_status for row in connection.execute(sa.text("SELECT * FROM orders"))}
    checkouts = sa.text("SELECT workflow_uuid FROM dbos.workflow_status WHERE parent_workflow_id IS NULL")
    keys = set(connection.execute(checkouts).scalars())
    told = {key: promise for customer in customers for key, promise in customer.items()}
    if len(orders) != len(keys):
        yield f"one order a key: {len(orders)} orders for {len(keys)} keys"
    for key in told.keys() - keys:
        yield f"promises: there is no checkout for {key}, but its customer had an answer"
    holders = Counter(promise.order_id for promise in told.values() if promise.order_id is not None)
    for order_id, count in holders.items():
        if count > 1:
            yield f"one order a key: order {order_id} belongs to {count} keys"
    for key, promise in told.items():
        if promise.order_id is not None and orders.get(promise.order_id) != promise.end:
            found = orders.get(promise.order_id)
            status = "not there" if found is None else status_in_words(found)
            yield f"promises: order {promise.order_id} of {key} is {status} (should be {promise.end.name})"


class _Store:
    """`widget-store serve` on one database: the supervisor, and whichever process serves just now."""

    def __init__(self, database: Database, plan: Plan) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True)
        self._output = Path(self._folder.name) / "output"
        self.url = ""
        app = [] if plan.app_file is None else ["--app", str(plan.app_file)]
        others = {name: value for name, value in os.environ.items() if name == SWITCH or not name.startswith(PREFIX)}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "widget_store", "serve", "--port", "0"),
                    *("--workers", str(plan.workers), "--stop-with-stdin", *app),
                ],
                env=others
                | {
                    f"{PREFIX}DATABASE_URL": database.url,
                    f"{PREFIX}PAYMENT_TIMEOUT": str(_PAYMENT_TIMEOUT_SECONDS),
                    f"{PREFIX}DISPATCH_INTERVAL": str(_DISPATCH_INTERVAL_SECONDS),
                },
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_SECONDS
        while not (ready := re.search(r"ready (http://\S+)\n", self._said())):
            self._check_running()
            if time.monotonic() > deadline:
                raise StoreDidNotStart(f"The store was not ready within {_READY_WITHIN_SECONDS:.0f} s: {self._said()}")
            time.sleep(_LOOK_AGAIN_SECONDS)
        self.url = ready[1]

    def worker(self, other_than: psutil.Process | None = None) -> psutil.Process:
        """The process that serves, once there is one, and it is another."""
        deadline = time.monotonic() + _ANSWER_WITHIN_SECONDS
        with httpx.Client(trust_env=False, timeout=1) as http:
            while time.monotonic() < deadline:
                self._check_running()
                with contextlib.suppress(httpx.TransportError):
                    pid = int(http.get(f"{self.url}/healthz").json()["pid"])
                    worker = descendant(self._process.pid, pid)
                    if worker is not None and worker != other_than:
                        return worker
                time.sleep(_LOOK_AGAIN_SECONDS / 2)
        raise StoreDidNotStart(f"The store did not come back within {_ANSWER_WITHIN_SECONDS:.0f} s: {self._said()}")

    def close(self) -> None:
        """End the store's processes. Does no harm when done twice."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()  # the supervisor takes this as the word to stop
        try:
            self._process.wait(_STOP_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the workers end with it
            self._process.wait()
        self._folder.cleanup()

    def _check_running(self) -> None:
        if self._process.poll() is not None:
            raise StoreDidNotStart(f"The store has ended: {self._said()}")

    def _said(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")


def main(plan: Plan, *, as_json: bool) -> int:
    """The command: soak, print what came of it, and return the exit status."""
    columns = [TextColumn("soak"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=plan.seconds)
        report = soak(plan, progress=lambda done, so_far: bar.update(task, completed=done, description=so_far))
    if as_json:
        told = asdict(report)
        print(json.dumps({key: told[key] for key in ("seconds", "kills", "checkouts", "violations", "seed")}, indent=2))
    else:
        print(
            f"{report.seconds:g} s with {CUSTOMERS} customers (seed {report.seed}): {counted(report.kills, 'kill')}, "
            f"{counted(report.checkouts, 'checkout')}, {counted(report.answers, 'answer')}, longest outage "
            f"{report.longest_outage:g} s, {counted(len(report.violations), 'violation')}"
        )
        for violation in report.violations:
            print(f"  {violation}")
    if not report.kills or not report.checkouts:
        print(
            "widget-store crash-test: nothing was killed, or nothing was sold. Give --soak more seconds.",
            file=sys.stderr,
        )
    return 0 if report.passed else 1
