"""What must be true of a store's database once no workflow is running, in plain SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from widget_store.words import counted


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


def violations(connection: sa.Connection) -> list[str]:
    """Every breach of an invariant, as a sentence with its numbers."""
    return [each for invariant in INVARIANTS for each in invariant.violations(connection)]
