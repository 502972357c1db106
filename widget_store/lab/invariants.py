"""The oracle: what must be true of a store's database once no workflow is running, in plain SQL.

It asks the tables and not DBOS, so a mistake of DBOS would show as well. On SQLite, DBOS's tables are in a file of
their own, which is attached under the name of the schema that they have on PostgreSQL: the same SQL works on both.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from widget_store.databases import Database
from widget_store.lab.words import counted


@dataclass(frozen=True)
class Invariant:
    """A sentence about orders and stock that no crash may break.

    Attributes:
        name: What it is about, in a word or two.
        breaches: A query that gives a row for each breach, and none as long as all is well.
        says: The sentence for such a row, with its columns in braces. Behind a colon, a number has the words that come
            after it: those for one, and those for more.
    """

    name: str
    breaches: str
    says: str

    def violations(self, connection: sa.Connection) -> list[str]:
        """A sentence for each breach."""
        rows = connection.execute(sa.text(self.breaches)).mappings()
        return [f"{self.name}: {self.says.format_map(_with_counts(row))}" for row in rows]


class _Count(int):
    """A number that is followed by the words for one, or by those for more: `{:widget is|widgets are}`."""

    def __format__(self, words: str) -> str:
        one, _, many = words.partition("|")
        return counted(self, one, many) if words else str(int(self))


def _with_counts(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _Count(value) if isinstance(value, int) else value for name, value in row.items()}


INVARIANTS = (
    Invariant(
        "stock",
        """
        SELECT stock_added, inventory, held, inventory + held AS accounted
        FROM products, (SELECT count(*) AS held FROM orders WHERE order_status <> -1) AS holding
        WHERE stock_added - inventory <> held
        """,
        "{stock_added:widget was|widgets were} put on the shelf; {inventory:is|are} there and {held:is|are} held by "
        "orders, which makes {accounted}",
    ),
    Invariant(
        "full shelf",
        "SELECT inventory FROM products WHERE inventory < 0 OR inventory > 100",
        "{inventory:widget is|widgets are} on a shelf that has room for 0 to 100",
    ),
    Invariant(
        "settled",
        "SELECT order_id FROM orders WHERE order_status = 0",
        "order {order_id} was left PENDING",
    ),
    Invariant(
        "dispatched",
        """
        SELECT order_id, progress_remaining FROM orders
        WHERE order_status = 2 OR (order_status = 1) <> (progress_remaining = 0) OR progress_remaining < 0
        """,
        "order {order_id} was paid, and its dispatch ended with {progress_remaining:step|steps} to go",
    ),
    Invariant(
        "workflows end",
        "SELECT workflow_uuid, name, status FROM dbos.workflow_status WHERE status <> 'SUCCESS'",
        "the {name} {workflow_uuid} ended as {status}",
    ),
)


@contextlib.contextmanager
def looking_at(database: Database) -> Iterator[sa.Connection]:
    """A connection to a store's tables and, under the name `dbos`, to those of DBOS."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if database.is_sqlite:
            connection.execute(
                sa.text("ATTACH DATABASE :file AS dbos"), {"file": make_url(database.system_url).database}
            )
        yield connection


def at_rest(connection: sa.Connection) -> bool:
    """Whether no workflow is running, or waiting to."""
    running = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
    return bool(connection.execute(sa.text(running)).scalar_one() == 0)


def violations(connection: sa.Connection) -> list[str]:
    """Every breach of an invariant, as a sentence with its numbers."""
    return [each for invariant in INVARIANTS for each in invariant.violations(connection)]
