"""Back to the first day: a full shelf, no orders, no workflows."""

import shlex
from collections.abc import Sequence

import sqlalchemy as sa

from widget_store.databases import Database, open_database
from widget_store.errors import DatabaseUnavailable, StoreRunning, TableNotDropped
from widget_store.schema import FULL_SHELF, create_tables, metadata, orders, products
from widget_store.serving import executors
from widget_store.serving.executors import ExecutorIds, any_store_runs
from widget_store.settings import Settings
from widget_store.system.limits import lack

_KEPT = {
    "dbos_migrations",
    "dbos_datasource_migrations",
}  # which version DBOS's tables have: they stay, so it stays
_DBOS_TABLES = ("datasource_", "dbos_")  # on SQLite, what DBOS keeps beside the store's tables


def reset_store(settings: Settings, drop: Sequence[str] = ()) -> list[str]:
    """Fill the shelf, and forget every order and workflow; the next order is number 1. A new database does.

    On PostgreSQL all of it is one transaction. On SQLite it is one a file, the workflows first: when this
    dies in between, orders are left that nothing works on, and another reset clears them.

    Args:
        settings: They say which database.
        drop: Tables to drop, of those that are not the store's.

    Returns:
        The names of the tables that are not the store's, and were kept. A checkout file may have made them, but in a
        database that others use, too, they may be anybody's.

    Raises:
        StoreRunning: When a store uses the database; nothing is changed then.
        TableNotDropped: When a table is not there, is the store's, or another table needs it; nothing is changed then.
        DatabaseUnavailable: When the database can't be started or does not answer.
    """
    with open_database(settings) as database:
        _reset(database, drop=drop)
        with database.engine(poolclass=sa.NullPool).connect() as connection:
            return own_tables(connection)


def own_tables(connection: sa.Connection) -> list[str]:
    """The names of the tables that are neither the store's nor DBOS's: a learner's file may have made them."""
    names = sa.inspect(connection).get_table_names()
    return sorted(name for name in names if name not in metadata.tables and not name.startswith(_DBOS_TABLES))


def in_words(kept: Sequence[str]) -> str:
    """What is said of tables that a reset has kept: which they are, and how to drop them."""
    return (
        f"Kept, because the store did not make them: {', '.join(kept)}.\n"
        f"If they are your checkout's, this drops them: widget-store reset --drop {shlex.join(kept)}"
    )


def claim_fresh(database: Database, workers: int) -> ExecutorIds:
    """Take the first executor ids and reset the store, in one hold: nobody can open and sell in between.

    Tables that are not the store's are kept: see `own_tables`.

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


def _reset(database: Database, own_ids: Sequence[str] = (), drop: Sequence[str] = ()) -> None:
    try:
        _reset_at_once(database, own_ids, drop)
    except sa.exc.OperationalError as failure:
        words = f"The database {database.name} could not be reset: {str(failure.orig).strip().splitlines()[0]}"
        raise lack(words) or DatabaseUnavailable(f"{words}\nFix the cause, and reset it again.") from None


def _reset_at_once(database: Database, own_ids: Sequence[str], drop: Sequence[str]) -> None:
    with database.engine(poolclass=sa.NullPool).begin() as connection:
        # A store claims its executor id first, and comes here second. So one that is not seen by the next line waits
        # until this is committed, and then starts on a full shelf.
        create_tables(connection)
        if any_store_runs(database, own_ids):
            raise StoreRunning(
                f"A store is running on the database {database.name}.\n"
                "Stop it first (Ctrl-C where it runs, or restart its notebook's kernel), then reset."
            )
        _drop(connection, drop)
        if database.is_sqlite:
            _forget_sqlite(database, connection)
        else:
            _forget_postgres(connection)
        connection.execute(products.update().values(inventory=FULL_SHELF, stock_added=FULL_SHELF))


def _drop(connection: sa.Connection, tables: Sequence[str]) -> None:
    own = own_tables(connection)
    if unknown := sorted(set(tables) - set(own)):
        raise TableNotDropped(
            f"There is no table of your own with the name {unknown[0]}. Your tables: {', '.join(own) or 'none'}."
        )
    theirs = sa.MetaData()
    if tables:
        theirs.reflect(connection, only=tables, resolve_fks=False)
    try:
        theirs.drop_all(connection)
    except sa.exc.DBAPIError as refusal:
        words = str(refusal.orig).strip().splitlines()[0]
        raise TableNotDropped(f"The database does not drop {', '.join(tables)}: {words}") from None


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
