"""How fast the store is, measured beside what no store can be faster than.

Each figure that has one is given with its *floor*, measured in the same run on the same machine: the same SQL
with nothing durable around it, or the bare start of an interpreter. The ratio of the two is what durability
costs; it travels better from machine to machine than a number of milliseconds.

Everything happens on data of its own, which is gone afterwards: a learner's orders are not touched.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table
from sqlalchemy.engine import URL, make_url

from widget_store.database import has_embedded_postgres, open_database, without_password
from widget_store.errors import DatabaseUnavailable, StoreDidNotStart, WidgetStoreError
from widget_store.reset import reset_store
from widget_store.schema import PRODUCT_ID, OrderStatus, orders, products
from widget_store.settings import PREFIX, Settings, read_settings

_ANSWERED_WITHIN_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 0.005
_ASLEEP_SECONDS = 3600.0
"""A dispatch step this long is asleep for the whole run. It takes a thread and a row then, and no time."""
_BIG_SHELF = 1_000_000
"""Widgets enough for the whole run."""


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, some number of times.

    Attributes:
        floor: The same without what is measured, in the same unit; None where there is no such thing.
    """

    name: str
    unit: str
    samples: list[float]
    floor: float | None = None

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def middle_half(self) -> tuple[float, float]:
        """Half of the samples lie between these two."""
        ordered, quarter = sorted(self.samples), len(self.samples) // 4
        return ordered[quarter], ordered[-1 - quarter]

    @property
    def ratio(self) -> float | None:
        """How many times its floor the figure is."""
        return None if self.floor is None else self.value / self.floor

    def as_json(self) -> dict[str, str | float | None]:
        """As `widget-store bench --json` prints it."""
        return {
            "name": self.name,
            "value": round(self.value, 2),
            "unit": self.unit,
            "floor": None if self.floor is None else round(self.floor, 2),
            "ratio": None if self.ratio is None else round(self.ratio, 2),
        }


@dataclass(frozen=True)
class Effort:
    """How many samples to take."""

    starts: int = 5
    kills: int = 10
    warm_up: int = 20
    checkouts: int = 100


QUICK = Effort(starts=1, kills=1, warm_up=1, checkouts=3)
"""Shows that the benchmarks work; its figures mean little."""


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks, print the figures, and return the exit status."""
    parser = argparse.ArgumentParser(prog="widget-store bench", description="Measure the store, beside its floor.")
    parser.add_argument("--json", action="store_true", help="a list of {name, value, unit, floor, ratio}")
    parser.add_argument("--quick", action="store_true", help="a sample or two of each: only to see that it works")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # tidied up after, as Ctrl-C is
    progress = Console(stderr=True, style="dim")
    try:
        figures = run(read_settings(), QUICK if options.quick else Effort(), progress.print)
    except WidgetStoreError as error:
        print(f"widget-store bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps([figure.as_json() for figure in figures], indent=2))
    else:
        Console().print(_table(figures))
    return 0


def run(settings: Settings, effort: Effort, say: Callable[[str], None]) -> list[Figure]:
    """Measure everything, on scratch data of the same kind as the settings name.

    Args:
        settings: Which database to measure on.
        effort: How many samples to take.
        say: Told what is being measured.

    Raises:
        WidgetStoreError: When the database can't be used, or the store does not start.
    """
    with _scratch(settings) as scratch:
        say("a bare interpreter")
        imports = [_seconds_to_import() for _ in range(effort.starts)]
        from_stopped: list[float] = []
        if scratch.database_url is None:
            say("starting, database stopped")
            _start_and_stop(scratch)  # makes the database
            from_stopped = [_start_and_stop(scratch)[0] for _ in range(effort.starts)]
        with open_database(scratch) as database, contextlib.closing(_Shelf(database.engine())) as shelf:
            say("starting and stopping, database running")
            _start_and_stop(scratch)  # makes the tables
            starts, stops = zip(*(_start_and_stop(scratch) for _ in range(effort.starts)), strict=True)
            shelf.fill()
            say("the same SQL with nothing durable")
            plain_buys, plain_pays = shelf.plain_checkouts(effort)
            say("buying and paying, the store at rest")
            with _store(scratch.model_copy(update={"dispatch_interval": _ASLEEP_SECONDS})) as store:
                buys, pays = store.checkouts(effort)
            reset_store(scratch)
            shelf.fill()
            with _store(scratch) as store:
                say("kill -9 to a paid order answered")
                recoveries = [store.seconds_to_recover() for _ in range(effort.kills)]
                say("buying and paying, orders being dispatched")
                busy_buys, busy_pays = store.checkouts(effort)
                memory = store.worker().memory_full_info()

    start = Figure("serve to ready, database running", "s", list(starts), statistics.median(imports))
    plain_buy, plain_pay = statistics.median(_ms(plain_buys)), statistics.median(_ms(plain_pays))
    figures = [
        Figure("kill -9 to paid order answered", "s", recoveries, start.value),
        Figure("buy, one customer, store at rest", "ms", _ms(buys), plain_buy),
        Figure("pay, one customer, store at rest", "ms", _ms(pays), plain_pay),
        Figure("buy, one customer, dispatching", "ms", _ms(busy_buys), plain_buy),
        Figure("pay, one customer, dispatching", "ms", _ms(busy_pays), plain_pay),
        start,
        Figure("serve to ready, database stopped", "s", from_stopped, statistics.median(imports)),
        Figure("stop on SIGTERM", "s", list(stops)),
        Figure(f"worker RSS after {effort.checkouts} checkouts", "MB", [memory.rss / 1e6]),
        Figure(f"worker USS after {effort.checkouts} checkouts", "MB", [memory.uss / 1e6]),
    ]
    return [figure for figure in figures if figure.samples]  # only the embedded database can be stopped


@contextlib.contextmanager
def _scratch(settings: Settings) -> Iterator[Settings]:
    """The default settings, on an empty database of the kind these name; it is removed afterwards."""
    default = Settings.model_construct()
    url = None if settings.database_url is None else make_url(settings.database_url)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        if url is None and not has_embedded_postgres():
            url = make_url("sqlite://")
        if url is None:
            change: dict[str, object] = {"data_dir": folder}
        elif url.get_backend_name() == "sqlite":
            change = {"database_url": f"sqlite:///{folder / 'store.sqlite'}"}
        else:
            change = {"database_url": stack.enter_context(_scratch_database(url))}
        yield default.model_copy(update=change)


@contextlib.contextmanager
def _scratch_database(url: URL) -> Iterator[str]:
    """A new database on the PostgreSQL server of this URL: that of the URL may hold somebody's orders."""
    name = f"widget_store_bench_{uuid4().hex[:8]}"
    server = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with contextlib.closing(server.connect()) as connection:
        try:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        except sa.exc.DBAPIError as failure:
            raise DatabaseUnavailable(
                f"The benchmarks make a database of their own, and may not: {str(failure.orig).strip()}\n"
                f"Give the user of {without_password(url)} the right to, or unset {PREFIX}DATABASE_URL."
            ) from None
        try:
            yield url.set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


class _Shelf:
    """The database itself: what a checkout would cost if nothing had to survive a crash."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        self._engine.dispose()

    def fill(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(products.update().values(inventory=_BIG_SHELF, stock_added=_BIG_SHELF))

    def plain_checkouts(self, effort: Effort) -> tuple[list[float], list[float]]:
        """The seconds of each purchase (one insert, one update) and of each payment (one update)."""
        buys, pays = [], []
        for _ in range(effort.warm_up + effort.checkouts):
            started = time.perf_counter()
            order_id = self._buy()
            bought = time.perf_counter()
            self._pay(order_id)
            buys.append(bought - started)
            pays.append(time.perf_counter() - bought)
        return buys[effort.warm_up :], pays[effort.warm_up :]

    def _buy(self) -> int:
        new_order = orders.insert().values(product_id=PRODUCT_ID, order_status=OrderStatus.PENDING)
        with self._engine.begin() as connection:
            order_id = connection.execute(new_order.returning(orders.c.order_id)).scalar_one()
        with self._engine.begin() as connection:
            connection.execute(products.update().values(inventory=products.c.inventory - 1))
        return int(order_id)

    def _pay(self, order_id: int) -> None:
        paid = orders.update().where(orders.c.order_id == order_id).values(order_status=OrderStatus.PAID)
        with self._engine.begin() as connection:
            connection.execute(paid)


class _Store:
    """A store in child processes, and its one customer: nothing but what is measured, unlike `lab.store`."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_ANSWERED_WITHIN_SECONDS, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def worker(self) -> psutil.Process:
        """The process that serves, below the supervisor."""
        return psutil.Process(self._http.get("/healthz").json()["pid"])

    def checkouts(self, effort: Effort) -> tuple[list[float], list[float]]:
        """The seconds of each purchase and of each payment, back to back. What is paid for is dispatched meanwhile."""
        buys, pays = [], []
        for _ in range(effort.warm_up + effort.checkouts):
            started = time.perf_counter()
            payment_id = self._post(f"/checkout/{uuid4().hex}")
            bought = time.perf_counter()
            self._post(f"/payment_webhook/{payment_id}/paid")
            buys.append(bought - started)
            pays.append(time.perf_counter() - bought)
        return buys[effort.warm_up :], pays[effort.warm_up :]

    def seconds_to_recover(self) -> float:
        """Buy, kill the process that has the order, and try to pay until it is taken."""
        payment_id = self._post(f"/checkout/{uuid4().hex}")
        worker = self.worker()
        killed = time.perf_counter()
        worker.kill()
        while time.perf_counter() < killed + _ANSWERED_WITHIN_SECONDS:
            try:
                self._post(f"/payment_webhook/{payment_id}/paid")
            except httpx.TransportError:  # nobody listens yet
                time.sleep(_ASK_AGAIN_SECONDS)
            else:
                return time.perf_counter() - killed
        raise StoreDidNotStart(f"The store was killed, and not back within {_ANSWERED_WITHIN_SECONDS:.0f} seconds.")

    def _post(self, path: str) -> str:
        return self._http.post(path).raise_for_status().text


@contextlib.contextmanager
def _store(settings: Settings) -> Iterator[_Store]:
    """A store on these settings, from the moment it is ready. It stops with the block, or this process."""
    command = [sys.executable, "-m", "widget_store", "serve", "--port", "0", "--stop-with-stdin"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment[f"{PREFIX}DATA_DIR"] = str(settings.data_dir)
    environment[f"{PREFIX}DATABASE_URL"] = settings.database_url or ""
    environment[f"{PREFIX}DISPATCH_INTERVAL"] = str(settings.dispatch_interval)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe: for the type checker
            ready = process.stdout.readline().split()
            if not ready:
                raise StoreDidNotStart(f"The store ended while starting (exit status {process.wait()}).")
            with contextlib.closing(_Store(ready[1])) as store:
                yield store
        finally:
            process.terminate()
            process.wait()


def _start_and_stop(settings: Settings) -> tuple[float, float]:
    """The seconds from the command to ready, and from SIGTERM to the end of the process."""
    started = time.perf_counter()
    with _store(settings):
        ready = time.perf_counter()
    return ready - started, time.perf_counter() - ready


def _seconds_to_import() -> float:
    """The seconds of a fresh interpreter that imports what the store is built on."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import dbos, fastapi"], check=True)
    return time.perf_counter() - started


def _ms(seconds: list[float]) -> list[float]:
    return [1000 * second for second in seconds]


def _table(figures: list[Figure]) -> Table:
    table = Table("figure", caption="half of the samples lie in the spread")
    for column in ("median", "unit", "spread", "samples", "floor", "ratio"):
        table.add_column(column, justify="right")
    for figure in figures:
        low, high = figure.middle_half
        table.add_row(
            figure.name,
            f"{figure.value:.2f}",
            figure.unit,
            f"{low:.2f}-{high:.2f}" if len(figure.samples) > 1 else "",
            str(len(figure.samples)),
            "" if figure.floor is None else f"{figure.floor:.2f}",
            "" if figure.ratio is None else f"{figure.ratio:.1f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
