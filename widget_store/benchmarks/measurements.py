"""What is measured, one function for each part of it, beside its floor from the same run."""

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from widget_store.benchmarks.figures import Figure, in_ms
from widget_store.benchmarks.served import Rush, ServedStore, served
from widget_store.benchmarks.steps import APP
from widget_store.benchmarks.tables import Tables
from widget_store.databases import Database, open_database
from widget_store.errors import StoreDidNotStart
from widget_store.lab.crash_test import Plan, crash_test
from widget_store.lab.scenarios import SCENARIOS
from widget_store.serving.reset import reset_store
from widget_store.settings import Settings

CUSTOMERS = 16
_ASLEEP_SECONDS = 3600.0
"""A dispatch step this long is asleep for the whole run. It takes a thread and a row then, and no time."""
_NO_TIME_SECONDS = 0.001
_PATIENCE_SECONDS = 120.0
_LOOK_AGAIN_SECONDS = 0.01


@dataclass(frozen=True)
class Effort:
    """How many samples to take, and how long to look.

    Attributes:
        dispatch_interval: Seconds of each of the ten dispatch steps, while many customers buy.
        finished: How many finished orders there are in the tables, in one part after the other.
    """

    starts: int = 5
    kills: int = 10
    kills_of_many: int = 3
    pending: int = 50
    warm_up: int = 20
    checkouts: int = 100
    steps: int = 500
    dispatch_interval: float = 1.0
    rush_warm_up_seconds: float = 12.0
    windows: int = 6
    window_seconds: float = 4.0
    crash_scenario: str = "declined"
    finished: tuple[int, ...] = (10, 1_000, 100_000)


QUICK = Effort(
    starts=1,
    kills=1,
    kills_of_many=1,
    pending=2,
    warm_up=1,
    checkouts=3,
    steps=5,
    dispatch_interval=0.01,
    rush_warm_up_seconds=0.1,
    windows=1,
    window_seconds=2.0,
    crash_scenario="sold out",
    finished=(2, 20),
)
"""Shows that the benchmarks work; its figures mean little."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """Where it is measured, how thoroughly, and what the floors are.

    Attributes:
        scratch: Settings that name an empty database.
        say: Told what is being measured.
        import_seconds: What a bare interpreter takes to import DBOS and FastAPI.
    """

    scratch: Settings
    effort: Effort
    say: Say
    import_seconds: float


def interpreter(effort: Effort) -> float:
    """The seconds of a fresh interpreter that imports what the store is built on."""
    times = []
    for _ in range(effort.starts):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import dbos, fastapi"], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _interpreters_memory() -> float:
    """The RSS, in MB, of a fresh interpreter that has imported what the store is built on.

    Its USS is no floor: a worker shares what is imported with the process that forked it.
    """
    asked = "import dbos, fastapi, psutil; print(psutil.Process().memory_info().rss)"
    done = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1e6


def starting_a_stopped_database(setting: Setting) -> list[Figure]:
    """From the command to ready, with the embedded database to be started, too."""
    if setting.scratch.database_url is not None:
        return []  # only the embedded database can be stopped
    setting.say("starting, database stopped")
    _start_and_stop(setting.scratch)  # makes the database
    starts = [_start_and_stop(setting.scratch)[0] for _ in range(setting.effort.starts)]
    return [Figure("serve to ready, database stopped", "s", starts, setting.import_seconds)]


def starting(setting: Setting) -> list[Figure]:
    """From the command to ready, and from SIGTERM to the end."""
    setting.say("starting and stopping, database running")
    _start_and_stop(setting.scratch)  # makes the tables
    starts, stops = zip(*(_start_and_stop(setting.scratch) for _ in range(setting.effort.starts)), strict=True)
    return [
        Figure("serve to ready, database running", "s", starts, setting.import_seconds),
        Figure("stop on SIGTERM", "s", stops),
    ]


def one_customer(setting: Setting, tables: Tables) -> list[Figure]:
    """Buying and paying, one after the other, at rest and while orders are dispatched; and the memory that it takes."""
    effort, scratch = setting.effort, setting.scratch
    setting.say("the same SQL with nothing durable")
    plain_buys, plain_pays = tables.plain_checkouts(effort.warm_up, effort.checkouts)
    floors = [statistics.median(in_ms(times)) for times in (plain_buys, plain_pays)]
    setting.say("buying and paying, the store at rest")
    with served(scratch.model_copy(update={"dispatch_interval": _ASLEEP_SECONDS})) as store:
        buys, pays = store.checkouts(effort.warm_up, effort.checkouts)
    reset_store(scratch)
    tables.fill_shelf()
    setting.say("buying and paying, orders being dispatched")
    with served(scratch) as store:
        busy_buys, busy_pays = store.checkouts(effort.warm_up, effort.checkouts)
        memory = store.worker().memory_full_info()
    bare_rss = _interpreters_memory()
    return [
        Figure("buy, one customer, store at rest", "ms", in_ms(buys), floors[0]),
        Figure("pay, one customer, store at rest", "ms", in_ms(pays), floors[1]),
        Figure("buy, one customer, dispatching", "ms", in_ms(busy_buys), floors[0]),
        Figure("pay, one customer, dispatching", "ms", in_ms(busy_pays), floors[1]),
        Figure(f"worker RSS after {effort.checkouts} checkouts", "MB", [memory.rss / 1e6], bare_rss),
        Figure(f"worker USS after {effort.checkouts} checkouts", "MB", [memory.uss / 1e6]),
    ]


def recovery(setting: Setting, tables: Tables, start_seconds: float) -> list[Figure]:
    """From a kill to a payment that is taken, and to the moment in which all checkouts that waited go on."""
    effort = setting.effort
    setting.say("kill -9 to a paid order answered")
    with served(setting.scratch) as store:
        kills = [store.seconds_to_recover() for _ in range(effort.kills)]
    figures = [Figure("kill -9 to paid order answered", "s", kills, start_seconds)]
    for pending in (1, effort.pending):
        setting.say(f"kill -9 to resumed, {pending} pending")
        times = [_seconds_to_resume(setting, tables, pending) for _ in range(effort.kills_of_many)]
        figures.append(Figure(f"kill -9 to resumed, {pending} pending", "s", times, start_seconds))
    return figures


def _seconds_to_resume(setting: Setting, tables: Tables, pending: int) -> float:
    with _empty_store(setting, tables) as store:
        store.buy_many(pending)
        return store.seconds_to_resume(lambda: tables.recovered() == pending)


def many_customers(setting: Setting, tables: Tables, workers: int) -> list[Figure]:
    """Buying and paying by many customers at once, while what they have bought is dispatched."""
    effort = setting.effort
    with _empty_store(setting, tables, workers=workers, dispatch_interval=effort.dispatch_interval) as store:
        floor = _PlainRush(*tables.plain_rush(CUSTOMERS, CUSTOMERS * effort.checkouts))
        setting.say(f"{CUSTOMERS} customers, {workers} worker{'s' if workers > 1 else ''}")
        rush = _rush(effort, store, tables)
    return _figures_of(rush, floor, f"{CUSTOMERS} customers, --workers {workers}")


def steps(setting: Setting, tables: Tables) -> list[Figure]:
    """What a step costs in a workflow that does nothing else."""
    effort = setting.effort
    setting.say("steps")
    floor = statistics.median(in_ms(tables.bare_commits(effort.steps)))
    figures = []
    with _a_file(APP) as app, served(setting.scratch, app=app) as store:
        for kind, name in {"plain": "a plain step", "transaction": "a transaction"}.items():
            store.post(f"/steps/{kind}/{effort.warm_up}")
            times = [float(store.post(f"/steps/{kind}/{effort.steps}")) / effort.steps for _ in range(effort.starts)]
            figures.append(Figure(f"{name} in a workflow", "ms", in_ms(times), floor))
    return figures


@contextlib.contextmanager
def _a_file(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "app.py"
        file.write_text(text, encoding="utf-8")
        yield file


def crash_points(setting: Setting) -> list[Figure]:
    """How long the crash test takes for one crash point."""
    setting.say("the crash test")
    # On a server of its own, as a learner's is: that need not survive a power cut.
    report = crash_test(Plan(scenarios=(SCENARIOS[setting.effort.crash_scenario],)), setting.scratch)
    return [Figure("crash test, a crash point", "s", [report.seconds / len(report.results)])]


def growth(setting: Setting, tables: Tables) -> list[Figure]:
    """The same, with more and more finished orders in the tables. The floors are those with the fewest."""
    effort = setting.effort
    floors: dict[str, float] = {}
    figures: list[Figure] = []
    with _empty_store(setting, tables, dispatch_interval=_NO_TIME_SECONDS) as store:
        key = uuid4().hex
        store.post(f"/checkout/{key}")
        store.post(f"/payment_webhook/{key}/paid")
        _wait_until(tables.at_rest)
    there = 1
    for finished in effort.finished:
        setting.say(f"{finished:,} finished orders")
        tables.copy_finished_order(key, range(there, finished))
        there = finished
        for name, unit, samples in _with_finished_orders(setting, tables):
            figure = Figure(f"{name}, {finished:,} finished orders", unit, samples, floors.get(name))
            floors.setdefault(name, figure.value)
            figures.append(figure)
    return figures


def _with_finished_orders(setting: Setting, tables: Tables) -> list[tuple[str, str, list[float]]]:
    effort, scratch = setting.effort, setting.scratch
    with served(scratch.model_copy(update={"dispatch_interval": _ASLEEP_SECONDS})) as store:
        buys, pays = store.checkouts(effort.warm_up, effort.checkouts)
        lists = [store.get("/orders") for _ in range(effort.checkouts)]
    tables.cancel_what_sleeps()  # otherwise it would be recovered, too
    with served(scratch.model_copy(update={"dispatch_interval": _NO_TIME_SECONDS})) as store:
        recoveries = [store.seconds_to_recover() for _ in range(effort.kills)]
    with served(scratch.model_copy(update={"dispatch_interval": effort.dispatch_interval})) as store:
        rush = _rush(effort, store, tables)
        _wait_until(tables.at_rest)
    return [
        ("buy, one customer", "ms", in_ms(buys)),
        ("pay, one customer", "ms", in_ms(pays)),
        ("GET /orders", "ms", in_ms(lists)),
        ("kill -9 to paid order answered", "s", recoveries),
        (f"checkouts, {CUSTOMERS} customers", "/s", rush.sold),
    ]


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise StoreDidNotStart(f"The store's workflows did not end within {_PATIENCE_SECONDS:.0f} seconds.")
        time.sleep(_LOOK_AGAIN_SECONDS)


@contextlib.contextmanager
def _empty_store(
    setting: Setting, tables: Tables, *, workers: int = 1, dispatch_interval: float | None = None
) -> Iterator[ServedStore]:
    """A store with a full shelf, no orders and no workflows."""
    reset_store(setting.scratch)
    tables.fill_shelf()
    change = {} if dispatch_interval is None else {"dispatch_interval": dispatch_interval}
    with served(setting.scratch.model_copy(update=change), workers) as store:
        yield store


def _rush(effort: Effort, store: ServedStore, tables: Tables) -> Rush:
    return store.rush(CUSTOMERS, effort.rush_warm_up_seconds, effort.windows, effort.window_seconds, tables.dispatched)


@dataclass(frozen=True)
class _PlainRush:
    """Many customers at once, and nothing durable: checkouts a second, and the seconds of each purchase and payment."""

    sold: float
    buys: list[float]
    pays: list[float]


def _figures_of(rush: Rush, floor: _PlainRush, who: str) -> list[Figure]:
    figures = [
        Figure(f"checkouts, {who}", "/s", rush.sold, floor.sold),
        Figure(f"orders dispatched, {who}", "/s", rush.dispatched, floor.sold),
    ]
    for call, times, plain in (("buy", rush.buys, floor.buys), ("pay", rush.pays, floor.pays)):
        for quantile, words in ((0.5, ""), (0.99, ", 99th percentile")):
            bare = Figure("", "ms", in_ms(plain), quantile=quantile).value
            figures.append(Figure(f"{call}, {who}{words}", "ms", in_ms(times), bare, quantile))
    return figures


def _start_and_stop(settings: Settings) -> tuple[float, float]:
    """The seconds from the command to ready, and from SIGTERM to the end of the process."""
    started = time.perf_counter()
    with served(settings):
        ready = time.perf_counter()
    return ready - started, time.perf_counter() - ready


def measure(settings: Settings, effort: Effort, say: Say, *, with_growth: bool) -> list[Figure]:
    """Measure everything.

    Args:
        settings: Settings that name an empty database.
        effort: How thoroughly.
        say: Told what is being measured.
        with_growth: Also with many finished orders in the tables.

    Raises:
        WidgetStoreError: When the database can't be used, or the store does not start.
    """
    say("a bare interpreter")
    setting = Setting(settings, effort, say, interpreter(effort))
    from_stopped = starting_a_stopped_database(setting)
    with open_database(settings) as database:
        from_running = starting(setting)
        with contextlib.closing(_filled(database)) as tables:
            figures = [
                *recovery(setting, tables, start_seconds=from_running[0].value),
                *one_customer(setting, tables),
                *(figure for workers in _workers(database) for figure in many_customers(setting, tables, workers)),
                *steps(setting, tables),
                *from_running,
                *from_stopped,
            ]
            if with_growth:
                figures += growth(setting, tables)
    return [*figures, *crash_points(setting)]


def _filled(database: Database) -> Tables:
    tables = Tables(database)
    tables.fill_shelf()
    return tables


def _workers(database: Database) -> tuple[int, ...]:
    return (1,) if database.is_sqlite else (1, 2)
