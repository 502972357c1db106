"""`widget-store reset`: back to the first day, and never under a running store."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support import (
    PATIENCE_SECONDS,
    ROOT,
    Books,
    Serving,
    command,
    environment,
    eventually,
    new_key,
    serving,
    starting,
)
from widget_store.databases import Database, open_database
from widget_store.errors import StoreRunning, TableNotDropped
from widget_store.schema import FULL_SHELF, create_tables, orders
from widget_store.serving import executors, reset
from widget_store.serving.reset import reset_store
from widget_store.settings import Settings

SHELF = "SELECT inventory, stock_added FROM products"


@pytest.fixture
def settings(database: Database) -> Settings:
    return Settings(database_url=database.url)


def test_a_database_that_was_never_used_gets_a_full_shelf(settings: Settings, books: Books) -> None:
    reset_store(settings)
    assert books.store(SHELF) == [(FULL_SHELF, FULL_SHELF)]
    assert books.store("SELECT count(*) FROM orders") == [(0,)]


@pytest.mark.slow(reason="a real store sells a widget before the reset, and another one after it")
def test_a_used_store_is_as_new_and_can_be_used_again(
    settings: Settings, database: Database, books: Books, public_folder: Path
) -> None:
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url) as store:
        store.sell(new_key())
        assert store.buy(new_key()).status_code == 200  # it waits for its payment when the store stops
        store.client.post("/restock").raise_for_status()

    reset_store(settings)

    assert books.store(SHELF) == [(FULL_SHELF, FULL_SHELF)]
    datasource_outputs = "datasource_outputs" if database.is_sqlite else "dbos.datasource_outputs"
    for count in (
        books.store("SELECT count(*) FROM orders"),
        books.store(f"SELECT count(*) FROM {datasource_outputs}"),  # noqa: S608 - one of the two names above
        books.system("SELECT count(*) FROM {dbos}workflow_status"),
        books.system("SELECT count(*) FROM {dbos}operation_outputs"),
        books.system("SELECT count(*) FROM {dbos}workflow_events"),
    ):
        assert count == [(0,)]

    with serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url) as store:
        assert store.sell(new_key()) == 1
        assert books.violations() == []


def test_while_a_store_runs_nothing_is_reset(new_database: Callable[[str], Database], database: Database) -> None:
    fresh = new_database("sqlite" if database.is_sqlite else "postgresql")
    settings, books = Settings(database_url=fresh.url), Books(fresh)
    reset_store(settings)
    books.set_inventory(7)
    held = executors.claim(fresh, 1)  # what a running store holds
    try:
        if fresh.is_sqlite:  # a file lock keeps out other processes, and this one holds it
            refused = command("reset", WIDGET_STORE_DATABASE_URL=fresh.url)
            assert refused.returncode == 1
            assert "Stop it first" in refused.stderr
        else:
            with pytest.raises(StoreRunning, match="Stop it first"):
                reset_store(settings)
        assert books.store("SELECT inventory FROM products") == [(7,)]
    finally:
        held.release()


def test_a_reset_looks_for_a_running_store_while_none_can_start(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = {"timeout": 0.1} if database.is_sqlite else {"options": "-c lock_timeout=100"}
    engine = sa.create_engine(database.url, connect_args=impatient, poolclass=sa.NullPool)
    looked = []

    def look(database: Database, besides: Sequence[str]) -> bool:
        with pytest.raises(sa.exc.OperationalError, match="lock"), engine.begin() as connection:
            create_tables(connection)  # as a store does when it starts
        looked.append(database)
        return executors.any_store_runs(database, besides)

    reset_store(settings)  # makes the tables: who makes them keeps others out anyway
    monkeypatch.setattr(reset, "any_store_runs", look)
    reset_store(settings)
    assert looked


@pytest.mark.slow("starts a store in the middle of a reset, and gives it time to come up there")
def test_a_store_that_is_started_during_a_reset_comes_up_after_it(
    new_database: Callable[[str], Database], database: Database, public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = new_database("sqlite" if database.is_sqlite else "postgresql")
    url = {"WIDGET_STORE_DATABASE_URL": fresh.url}
    with serving(public_folder, **url) as before:
        before.sell(new_key())
        assert before.buy(new_key()).status_code == 200  # and it is not paid
    started: list[Serving] = []
    forget_workflows = reset._forget_workflows  # noqa: SLF001 - the middle of a reset

    def forget_slowly(connection: sa.Connection, schema: str | None) -> None:
        started.append(stack.enter_context(starting(public_folder, **url)))
        eventually(lambda: executors.any_store_runs(fresh), "a store that has its executor id")
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert not started[0].is_ready(), "it came up in the middle"
            time.sleep(0.05)
        forget_workflows(connection, schema)

    monkeypatch.setattr(reset, "_forget_workflows", forget_slowly)
    with contextlib.ExitStack() as stack:
        reset_store(Settings(database_url=fresh.url))
        eventually(started[0].is_ready, "a store that is ready")
        assert started[0].sell(new_key()) == 1
        assert Books(fresh).violations() == []


@pytest.mark.slow("four stores at a time ask for the database, and those that do not get it wait five seconds")
def test_of_fresh_stores_at_once_one_is_given_the_database_and_the_others_a_sentence(
    new_database: Callable[[str], Database], database: Database, public_folder: Path
) -> None:
    fresh = new_database("sqlite" if database.is_sqlite else "postgresql")
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(starting(public_folder, "--fresh", WIDGET_STORE_DATABASE_URL=fresh.url))
            for _ in range(4)
        ]
        eventually(lambda: any(_is_ready(each) for each in racers), "a store that is ready")
        (winner,) = [each for each in racers if _is_ready(each)]
        assert winner.sell(new_key()) == 1
        for loser in racers:
            if loser is not winner:
                assert loser.process.wait(PATIENCE_SECONDS) == 1
                assert "Another store is open on the same database" in loser.output.read_text()
                assert "the menu Kernel, Shut Down Kernel" in loser.output.read_text()  # Notebook 7 has it, too
                assert "Traceback" not in loser.output.read_text()
        assert winner.sell(new_key()) == 2, "nobody has reset it meanwhile"
        assert Books(fresh).violations() == []


def test_a_reset_that_breaks_off_has_changed_nothing(new_database: Callable[[str], Database]) -> None:
    database = new_database("postgresql")
    reset_store(Settings(database_url=database.url))
    new_order = orders.insert().values(order_status=0, product_id=1).returning(orders.c.order_id)
    with database.engine(poolclass=sa.NullPool).begin() as connection:
        first = connection.scalar(new_order)
    with database.engine(poolclass=sa.NullPool).connect() as connection:
        reset._forget_postgres(connection)  # noqa: SLF001 - the middle of a reset
        connection.rollback()
    with database.engine(poolclass=sa.NullPool).begin() as connection:
        assert connection.scalar(new_order) == first + 1


RACER = """
import sys, time
import sqlalchemy as sa
from widget_store.serving import executors, reset
from widget_store.databases import open_database
from widget_store.errors import StoreRunning, TableNotDropped
from widget_store.schema import orders
from widget_store.settings import read_settings

executors._GONE_WITHIN_SECONDS = 0.0
with open_database(read_settings()) as database, database.engine().connect() as connection:
    print("here", flush=True)
    for at in sys.stdin:
        while time.time() < float(at):
            pass
        try:
            held = reset.claim_fresh(database, 1)
        except StoreRunning:
            print("refused", flush=True)
            sys.stdin.readline()
        else:
            with connection.begin():
                connection.execute(orders.insert().values(order_status=0, product_id=1))
            print("has it", flush=True)
            sys.stdin.readline()
            with connection.begin():
                assert list(connection.scalars(sa.select(orders.c.order_id))) == [1]
            held.release()
        print("over", flush=True)
"""
RACES = 25


@pytest.mark.slow("each race needs a moment at which both begin")
def test_two_that_claim_a_fresh_store_in_the_same_instant_never_share_it(database: Database) -> None:
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACER],
                    cwd=ROOT,
                    env=environment(WIDGET_STORE_DATABASE_URL=database.url),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        assert _answers(racers) == ["here", "here"]
        for _ in range(RACES):
            _tell(racers, str(time.time() + 0.02))
            assert _answers(racers) == ["has it", "refused"]
            _tell(racers, "")
            assert _answers(racers) == ["over", "over"]


def _tell(racers: "list[subprocess.Popen[str]]", line: str) -> None:
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(f"{line}\n")
        racer.stdin.flush()


def _answers(racers: "list[subprocess.Popen[str]]") -> list[str]:
    return sorted(racer.stdout.readline().strip() for racer in racers if racer.stdout is not None)


def _is_ready(store: Serving) -> bool:
    return "ready http" in store.output.read_text()


def test_a_reset_leaves_a_database_running_that_this_process_has_open(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, database_url=None)
    with open_database(settings) as database:
        reset_store(settings)
        database.check()


def test_the_command_says_in_one_sentence_what_it_did(database: Database) -> None:
    done = command("reset", WIDGET_STORE_DATABASE_URL=database.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The shelf is full; there are no orders and no workflows.\n"


LETTERS = sa.Table("letters", sa.MetaData(), sa.Column("letter", sa.Text, primary_key=True))


def test_a_table_of_ones_own_stays_until_it_is_named(database: Database) -> None:
    url = {"WIDGET_STORE_DATABASE_URL": database.url}
    with database.engine(poolclass=sa.NullPool).begin() as connection:
        LETTERS.create(connection)
        connection.execute(LETTERS.insert().values(letter="paid-1"))
    kept = command("reset", **url)
    assert (kept.returncode, kept.stderr) == (0, "")
    assert "Kept, because the store did not make them: letters." in kept.stdout
    with database.engine(poolclass=sa.NullPool).connect() as connection:
        assert list(connection.scalars(sa.select(LETTERS.c.letter))) == ["paid-1"]

    dropped = command(*kept.stdout.rpartition("widget-store ")[2].split(), **url)
    assert (dropped.returncode, dropped.stderr) == (0, "")
    assert "Dropped: letters." in dropped.stdout
    assert "Kept" not in dropped.stdout
    with database.engine(poolclass=sa.NullPool).connect() as connection:
        assert not sa.inspect(connection).has_table("letters")


@pytest.mark.parametrize("table", ["orders", "dbos_migrations", "nobodys"])
def test_only_a_table_of_ones_own_is_dropped(settings: Settings, books: Books, table: str) -> None:
    reset_store(settings)
    books.set_inventory(7)
    with pytest.raises(TableNotDropped, match=f"no table of your own with the name {table}"):
        reset_store(settings, [table])
    assert books.store("SELECT inventory FROM products") == [(7,)], "nothing is reset"


def test_a_table_that_another_one_needs_is_not_dropped_and_the_reason_is_told(
    new_database: Callable[[str], Database],
) -> None:
    database = new_database("postgresql")
    tables = sa.MetaData()
    letters = sa.Table("letters", tables, sa.Column("letter", sa.Text, primary_key=True))
    sa.Table("stamps", tables, sa.Column("letter", sa.ForeignKey(letters.c.letter)))
    with database.engine(poolclass=sa.NullPool).begin() as connection:
        tables.create_all(connection)
    settings = Settings(database_url=database.url)
    with pytest.raises(TableNotDropped, match=r"does not drop letters: .* depend"):
        reset_store(settings, ["letters"])
    assert reset_store(settings, ["letters", "stamps"]) == []


@pytest.mark.slow("starts a store")
def test_a_fresh_store_says_which_tables_are_from_before(
    new_database: Callable[[str], Database], public_folder: Path
) -> None:
    fresh = new_database("sqlite")
    with fresh.engine(poolclass=sa.NullPool).begin() as connection:
        LETTERS.create(connection)
    with serving(public_folder, "--fresh", WIDGET_STORE_DATABASE_URL=fresh.url) as store:
        assert "widget-store reset --drop letters" in store.output.read_text()
