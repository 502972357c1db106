"""A scenario of the store, as a workload of the crash test: its customers, and what must be true in the end."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from widget_store.crashtest.application import Line, Place
from widget_store.crashtest.looking import looking_at
from widget_store.crashtest.points import CrashPoints
from widget_store.crashtest.workload import App, Workload
from widget_store.databases import Database
from widget_store.errors import WidgetStoreError
from widget_store.lab import invariants
from widget_store.lab.order_status import status_in_words
from widget_store.lab.processes import lab_processes
from widget_store.lab.scenarios import Answer, Customer, Scenario
from widget_store.plain_text import failure_in_words
from widget_store.schema import OrderStatus
from widget_store.settings import Settings
from widget_store.system.limits import lack
from widget_store.system.processes import be_silent, end_with_parent, stand_apart, start

if TYPE_CHECKING:
    from widget_store.serving.application import Invariant
    from widget_store.system.processes import Connection


@dataclass(frozen=True)
class ServedStore:
    """A store, served over HTTP by one worker.

    Attributes:
        settings: Its payment timeout, and its dispatch interval.
        app_file: A learner's file; None for the store's own checkout.
        must_sell: Refuse a file that takes no part in a purchase.
    """

    settings: Settings
    app_file: Path | None = None
    must_sell: bool = False
    otherwise: str = "http"

    def prepare(self, place: Place, line: Line) -> None:
        """Launch it once: that makes all tables, and fills the shelf."""
        self.serve(place, CrashPoints(), line)

    def serve(self, place: Place, points: CrashPoints, line: Line) -> None:
        """Serve until the process is killed."""
        from widget_store.serving.server import Worker, serve

        worker = Worker(
            "worker-1", place.database, self.settings, port=0, app_file=self.app_file, must_sell=self.must_sell
        )
        serve(worker, on_ready=lambda port: line.tell("ready", port), crash_points=points)


class StoreWorkload(Workload):
    """A scenario that customers play, with the store's own checkout or a learner's.

    Args:
        scenario: What the customers do, and how it ends.
        app_file: A learner's file; None for the store's own checkout.
        must_sell: Refuse a file that takes no part in a purchase.
    """

    compares = False  # the invariants say what must be true, and they are what a lesson is about

    def __init__(self, scenario: Scenario, app_file: Path | None = None, *, must_sell: bool = False) -> None:
        self.scenario = scenario
        self._must_sell = must_sell
        self.only = scenario.only
        self._app_file = app_file

    @property
    def name(self) -> str:
        """That of the scenario."""
        return self.scenario.name

    @property
    def target(self) -> str:
        """As the command takes a learner's file."""
        return "" if self._app_file is None else f'--app "{self._app_file}"'

    def application(self) -> ServedStore:
        """The store, with this scenario's patience and pace."""
        settings = Settings.model_construct(
            payment_timeout=self.scenario.payment_timeout, dispatch_interval=self.scenario.dispatch_interval
        )
        return ServedStore(settings, self._app_file, must_sell=self._must_sell)

    def before_run(self, db: sa.Connection) -> None:
        """Put the scenario's stock on the shelf."""
        stock = {"stock": self.scenario.stock}
        db.execute(sa.text("UPDATE products SET inventory = :stock, stock_added = :stock"), stock)

    def drive(self, app: App) -> None:
        """Play the scenario."""
        self._customers = CustomersOfARun(app)
        self.scenario.story(self._customers)

    def check(self, db: sa.Connection) -> Iterator[str]:
        """The store's invariants, the scenario's and the author's; and what the customers were told must be true."""
        yield from self._customers.surprises
        yield from invariants.violations(db)
        yield from self._broken_promises(db)
        for rule in self.scenario.rules:
            yield from rule(db)
        yield from authors_violations(self._app_file, self.place.database, self.time_limit)

    def _broken_promises(self, db: sa.Connection) -> Iterator[str]:
        orders = {row.order_id: row.order_status for row in db.execute(sa.text("SELECT * FROM orders"))}
        ends = Counter(orders.values())
        if ends != Counter(self.scenario.ends):
            yield f"orders: {_in_words(ends)} (should be {_in_words(Counter(self.scenario.ends))})"
        for order_id, promised in self._customers.told:
            if orders.get(order_id) != promised:
                found = status_in_words(orders[order_id]) if order_id in orders else "not there"
                yield f"promises: order {order_id} is {found}, but its customer was told {promised.name}"


class CustomersOfARun(Customer):
    """The customers of one run, over HTTP.

    Args:
        app: The store.

    Attributes:
        surprises: A sentence for each answer that was not as expected.
        told: The orders whose customers were told how they end, and how.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.surprises: list[str] = []
        self.told: list[tuple[int, OrderStatus]] = []

    def buy(self, key: str) -> Answer:
        """Start a checkout."""
        return self.post(f"/checkout/{key}")

    def pay(self, key: str, status: str = "paid") -> Answer:
        """Report a payment."""
        answer = self.post(f"/payment_webhook/{key}/{status}")
        if answer.status == 200 and answer.text.isdecimal():
            end = OrderStatus.DISPATCHED if status == "paid" else OrderStatus.CANCELLED
            self.told.append((int(answer.text), end))
        return answer

    def restock(self) -> Answer:
        """Fill the shelf."""
        return self.post("/restock")

    def post(self, path: str) -> Answer:
        """Call any endpoint."""
        response = self._app.http("POST", path)
        if response.status_code == 500 and (starved := lack(response.text)):
            raise starved
        return Answer(response.status_code, response.text)

    def expect(self, answer: Answer, status: int, what: str) -> None:
        """Note an answer with another status."""
        if answer.status != status:
            self.surprises.append(f"answers: {what} was answered with {answer.status}, {answer.text!r}")

    def wait_for_end(self) -> None:
        """Wait until no workflow is running."""
        self._app.wait()


def authors_violations(app_file: Path | None, database: Database, within_seconds: float = 30.0) -> list[str]:
    """What the author's own rules say: they live in the application's file, so a process that loads it asks them."""
    if app_file is None:
        return []
    processes = lab_processes()
    answer, theirs = processes.Pipe(duplex=False)
    judge = processes.Process(target=_judge, args=(app_file, database, theirs))
    start(judge)
    theirs.close()
    try:
        if not answer.poll(within_seconds):
            return [f"invariants of {app_file.name}: no answer within {within_seconds:g} s"]
        found: list[str] = answer.recv()
        return found
    except EOFError:
        return [f"invariants of {app_file.name}: the process that ran them died"]
    finally:
        judge.kill()
        judge.join()
        judge.close()
        answer.close()


def _judge(app_file: Path, database: Database, to_test: "Connection") -> None:
    """Ask the author's rules, in a process of their own."""
    stand_apart()
    end_with_parent()
    be_silent()
    from widget_store.serving.application import load_application

    with looking_at(database) as connection:
        try:
            found = list(_asked(load_application(app_file).invariants, connection))
        except WidgetStoreError as failure:
            found = [f"invariants of {app_file.name}: {failure}"]
    to_test.send(found)


def _asked(rules: Iterable["Invariant"], connection: sa.Connection) -> Iterator[str]:
    for rule in rules:
        name = getattr(rule, "__name__", "invariant")
        try:
            yield from [f"{name}: {violation}" for violation in rule(connection) or ()]
        except Exception as failure:  # noqa: BLE001 - an author's mistake is told as what it is
            yield f"{name}: raised {failure_in_words(failure)}"


def _in_words(ends: "Counter[int | str]") -> str:
    """How many orders there are of each status, in the order of the numbers; a learner may have stored a text there."""
    in_order = sorted(ends.items(), key=lambda end: (isinstance(end[0], str), end[0]))
    return " and ".join(f"{count} {status_in_words(status)}" for status, count in in_order) or "none"
