"""Back to the first day: a full shelf, no orders, no workflows."""

from collections.abc import Sequence

import sqlalchemy as sa

from widget_store.databases import Database, open_database
from widget_store.errors import DatabaseUnavailable, StoreRunning
from widget_store.schema import FULL_SHELF, create_tables, orders, products
from widget_store.serving import executors
from widget_store.serving.executors import ExecutorIds, any_store_runs
from widget_store.settings import Settings
from widget_store.system.limits import lack

_KEPT = {
    "dbos_migrations",
    "dbos_datasource_migrations",
}  # which version DBOS's tables have: they stay, so it stays


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

    Raises:
        StoreRunning: When another store uses the database; nothing is changed then.
        psycopg.OperationalError: When PostgreSQL does not answer.
    """
    claimed = executors.claim_alone(database, workers)
    try:
        _reset(database, claimed.ids)
    except BaseException:
        claimed.release()
        raise
    return claimed


def _reset(database: Database, own_ids: Sequence[str] = ()) -> None:
    try:
        _reset_at_once(database, own_ids)
    except sa.exc.OperationalError as failure:
        words = f"The database {database.name} could not be reset: {str(failure.orig).strip().splitlines()[0]}"
        raise lack(words) or DatabaseUnavailable(f"{words}\nFix the cause, and reset it again.") from None


def _reset_at_once(database: Database, own_ids: Sequence[str]) -> None:
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
    # A delete and this wait for no reader, as TRUNCATE ... RESTART IDENTITY would: a notebook may be one. And unlike
    # `setval`, this is undone when the transaction is.
    sequence = connection.scalar(sa.text("SELECT pg_get_serial_sequence('orders', 'order_id')"))
    connection.execute(sa.text(f"ALTER SEQUENCE {sequence} RESTART"))


def _forget_sqlite(database: Database, connection: sa.Connection) -> None:
    with database.system_engine(poolclass=sa.NullPool).begin() as system:
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
