"""Back to the first day: a full shelf, no orders, no workflows."""

import time
from collections.abc import Sequence

import sqlalchemy as sa

from widget_store import executors
from widget_store.databases import Database, open_database
from widget_store.errors import StoreRunning
from widget_store.executors import ExecutorIds, any_store_runs
from widget_store.schema import FULL_SHELF, create_tables, orders, products
from widget_store.settings import Settings

_KEPT = {
    "dbos_migrations",
    "dbos_datasource_migrations",
}  # which version DBOS's tables have: they stay, so it stays

_GONE_WITHIN_SECONDS = 5.0  # a store whose kernel was restarted a moment ago: its workers end within three
_LOOK_EVERY_SECONDS = 0.1


def reset_store(settings: Settings) -> None:
    """Fill the shelf, and forget every order and workflow; the next order is number 1. A new database does.

    On PostgreSQL all of it is one transaction. On SQLite it is one a file, the workflows first: when this
    dies in between, orders are left that nothing works on, and another reset clears them.

    Raises:
        StoreRunning: When a store uses the database; nothing is changed then.
        DatabaseUnavailable: When the database can't be started or does not answer.
    """
    with open_database(settings) as database:
        _reset(database)


def claim_fresh(database: Database, workers: int) -> ExecutorIds:
    """Take the first executor ids and reset the store, in one hold: nobody can open and sell in between.

    It waits for stores that are ending: a killed one's session lives a moment longer. Of several that ask at the same
    time, one is given the ids.

    Raises:
        StoreRunning: When another store keeps using the database; nothing is changed then.
        psycopg.OperationalError: When PostgreSQL does not answer.
    """
    deadline = time.monotonic() + _GONE_WITHIN_SECONDS
    while True:
        claimed = executors.claim_first(database, workers)
        try:
            if len(claimed.ids) == workers:
                _reset(database, claimed.ids)
                return claimed
        except StoreRunning:
            pass  # it is asked again
        except BaseException:
            claimed.release()
            raise
        claimed.release()
        if time.monotonic() > deadline:
            raise StoreRunning(
                "Another store is open on the same database, in a notebook or in a terminal. Close it there (with "
                "store.close(), with the menu Kernel, Shut Down Kernel, or with Ctrl-C), then run this again."
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def _reset(database: Database, own_ids: Sequence[str] = ()) -> None:
    with database.engine(poolclass=sa.NullPool).begin() as connection:
        # A store claims its executor id first, and comes here second. So one that is not seen by the next line waits
        # until this is committed, and then starts on a full shelf.
        create_tables(connection)
        if any_store_runs(database, own_ids):
            raise StoreRunning(
                f"A store is running on the database {database.name}.\n"
                "Stop it first (Ctrl-C where it runs, or restart its notebook's kernel), then reset."
            )
        if database.is_sqlite:
            _forget_sqlite(database, connection)
        else:
            _forget_postgres(connection)
        connection.execute(products.update().values(inventory=FULL_SHELF, stock_added=FULL_SHELF))


def _forget_postgres(connection: sa.Connection) -> None:
    _forget_workflows(connection, schema="dbos")
    connection.execute(orders.delete())
    # A delete and this wait for no reader, as TRUNCATE ... RESTART IDENTITY would: a notebook may be one.
    connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('orders', 'order_id'), 1, false)"))


def _forget_sqlite(database: Database, connection: sa.Connection) -> None:
    with sa.create_engine(database.system_url, poolclass=sa.NullPool).begin() as system:
        _forget_workflows(system, schema=None)
    connection.execute(orders.delete())
    if sa.inspect(connection).has_table("datasource_outputs"):
        connection.execute(sa.text("DELETE FROM datasource_outputs"))
    connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'orders'"))


def _forget_workflows(connection: sa.Connection, schema: str | None) -> None:
    """Empty DBOS's tables.

    `DBOS.reset_system_database(truncate=True)` deletes the same rows. But on PostgreSQL it first ends every
    other session of the database, a notebook's included, and when it fails it only logs a warning.
    """
    for name in sa.inspect(connection).get_table_names(schema=schema):
        if name not in _KEPT:
            connection.execute(sa.delete(sa.table(name, schema=schema)))
