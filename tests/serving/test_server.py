"""The serving process itself: how it works with its database."""

import inspect
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos._queue import queue_thread

from tests.support import cut_connections
from widget_store.databases import Database
from widget_store.serving.server import _QUEUE_THREADS, _engine_to_look, _engines, _sqlite_engine

WRITE = sa.text("INSERT INTO notes VALUES (:note)")
WRITE_BY_A_FUNCTION = sa.text("SELECT note_down(:note)")
READ = sa.text("SELECT count(*) FROM notes WHERE note <> :note")
FAIL = sa.text("SELECT 1 / (:note * 0)")


def test_on_sqlite_a_queue_thread_counts_and_takes_in_one_turn(tmp_path: Path) -> None:
    """Otherwise two workers take what a queue's limit allows to one: DBOS counts first, and changes rows later."""
    engine = _sqlite_engine(f"sqlite:///{tmp_path / 'dbos.sqlite'}")
    others = sa.create_engine(f"sqlite:///{tmp_path / 'dbos.sqlite'}", connect_args={"timeout": 0.01})
    locked: dict[str, bool] = {}

    def count() -> None:
        with engine.begin() as connection, others.connect() as other:
            connection.execute(sa.text("SELECT 1")).scalar()
            try:
                other.exec_driver_sql("BEGIN IMMEDIATE")
            except sa.exc.OperationalError:
                locked[threading.current_thread().name] = True

    for name in ("queue-worker-trucks", "anything else"):
        thread = threading.Thread(target=count, name=name)
        thread.start()
        thread.join()
    engine.dispose()
    others.dispose()
    assert locked == {"queue-worker-trucks": True}


def test_dbos_names_its_queue_threads_so() -> None:
    assert f'name=f"{_QUEUE_THREADS}{{queue_name}}"' in inspect.getsource(queue_thread)


@pytest.fixture
def noted(new_database: Callable[[str], Database]) -> Database:
    """A PostgreSQL with a table to write to, and a function that does."""
    database = new_database("postgresql")
    with database.connect() as connection:
        connection.execute("CREATE TABLE notes (note int)")
        connection.execute(
            "CREATE FUNCTION note_down(int) RETURNS void LANGUAGE sql AS 'INSERT INTO notes VALUES ($1)'"
        )
    return database


@pytest.fixture
def engine(noted: Database) -> Iterator[sa.Engine]:
    """The engine of the store's own transactions. A lone thread always gets the same connection."""
    system, transactions = _engines(noted)
    yield transactions
    system.dispose()
    transactions.dispose()


def prepared(engine: sa.Engine) -> set[str]:
    """What PostgreSQL has prepared for the connection that is used next."""
    with engine.connect() as connection:
        return set(connection.exec_driver_sql("SELECT statement FROM pg_prepared_statements").scalars())


def notes(database: Database) -> list[int]:
    with database.connect() as connection:
        return [note for (note,) in connection.execute("SELECT note FROM notes ORDER BY note")]


def read_ten_times(engine: sa.Engine) -> None:
    for note in range(10):
        with engine.connect() as connection:
            connection.execute(READ, {"note": note})


def in_one_transaction(engine: sa.Engine, *work: sa.TextClause | Callable[[], None]) -> None:
    with engine.begin() as connection:
        for each in work:
            if callable(each):
                each()
            else:
                connection.execute(each, {"note": 1})


def test_what_is_prepared_outlives_the_end_of_a_read(noted: Database) -> None:
    for engine in (*_engines(noted), _engine_to_look(noted)):
        read_ten_times(engine)
        assert any("FROM notes" in statement for statement in prepared(engine))
        engine.dispose()


def test_what_is_prepared_outlives_a_transaction_that_failed(noted: Database, engine: sa.Engine) -> None:
    read_ten_times(engine)
    with pytest.raises(sa.exc.DataError):
        in_one_transaction(engine, WRITE, FAIL)
    assert any("FROM notes" in statement for statement in prepared(engine))
    assert notes(noted) == []


def test_what_a_select_writes_by_a_function_is_rolled_back_with_its_transaction(
    noted: Database, engine: sa.Engine
) -> None:
    def change_ones_mind() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        in_one_transaction(engine, WRITE_BY_A_FUNCTION, change_ones_mind)
    with engine.connect() as connection:  # and nobody commits
        connection.execute(WRITE_BY_A_FUNCTION, {"note": 1})
    with engine.connect() as connection, connection.begin() as transaction:
        connection.execute(WRITE_BY_A_FUNCTION, {"note": 1})
        transaction.rollback()
    assert notes(noted) == []
    in_one_transaction(engine, WRITE_BY_A_FUNCTION)
    assert notes(noted) == [1]


@pytest.mark.parametrize("more", [(), (WRITE,)], ids=["before its rollback", "before its next statement"])
def test_a_connection_that_is_lost_in_a_transaction_is_replaced(
    noted: Database, engine: sa.Engine, more: tuple[sa.TextClause, ...]
) -> None:
    def lose_it_and_go_on() -> None:
        cut_connections(noted)
        if not more:
            raise LookupError

    with pytest.raises(sa.exc.OperationalError) as failure:
        in_one_transaction(engine, WRITE, lose_it_and_go_on, *more)
    assert failure.value.connection_invalidated
    assert notes(noted) == []
    in_one_transaction(engine, WRITE)
    assert notes(noted) == [1]
