"""The store's own two tables. DBOS keeps its checkpoints in tables of its own beside them."""

from datetime import UTC, datetime
from enum import IntEnum

import sqlalchemy as sa

PRODUCT_ID = 1
"""The id of the one product."""
FULL_SHELF = 100
"""How many widgets a full shelf holds."""
DISPATCH_STEPS = 10
"""How many steps the dispatch of an order takes."""


class OrderStatus(IntEnum):
    """Where an order stands. An order that holds a widget is PENDING (once it has reserved one), PAID or DISPATCHED."""

    CANCELLED = -1  # not paid, or nothing on the shelf: it holds no widget any more
    PENDING = 0  # created, and waiting: for a widget, then for the payment
    DISPATCHED = 1  # on its way to the customer; nothing follows
    PAID = 2  # paid, and being dispatched


def utc_now() -> datetime:
    """The present time in UTC, without a zone, as both databases keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


metadata = sa.MetaData()
"""The store's tables. A file with a checkout of its own may add tables to it, and they are created with these."""

products = sa.Table(
    "products",
    metadata,
    sa.Column("product_id", sa.Integer, primary_key=True),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("inventory", sa.Integer, nullable=False),
    sa.Column("price", sa.Numeric(10, 2), nullable=False),
    # Every widget ever put on the shelf. What is not in `inventory` is held by an order, so the books can be checked.
    sa.Column("stock_added", sa.Integer, nullable=False),
    sa.CheckConstraint("inventory >= 0", name="inventory_is_never_below_zero"),
)
"""The table of the one product, with its `inventory`, `price` and `stock_added`."""

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", sa.Integer, primary_key=True),
    sa.Column("order_status", sa.Integer, nullable=False),
    sa.Column("last_update_time", sa.DateTime, nullable=False, default=utc_now, onupdate=utc_now),
    sa.Column("product_id", sa.Integer, sa.ForeignKey("products.product_id"), nullable=False),
    sa.Column("progress_remaining", sa.Integer, nullable=False, default=DISPATCH_STEPS),
    sqlite_autoincrement=True,  # an order id is never given twice, on SQLite either
)
"""The table of all orders, with `order_id`, `order_status`, `last_update_time` in UTC, and `progress_remaining`."""


_MY_TURN = {
    "postgresql": "SELECT pg_advisory_xact_lock(hashtext('widget_store.schema'))",
    "sqlite": "BEGIN IMMEDIATE",
}


def create_tables(connection: sa.Connection) -> None:
    """Create the tables where they are missing, and the product with a full shelf. Two stores may do so at once."""
    # One at a time, until the commit: two that create a table in the same instant would fail; and a store that is
    # started during a reset waits here.
    connection.execute(sa.text(_MY_TURN[connection.dialect.name]))
    metadata.create_all(connection)
    if connection.scalar(sa.select(products.c.product_id)) is None:
        connection.execute(
            products.insert().values(
                product_id=PRODUCT_ID,
                product="Premium Quality Widget",
                description="Enhance your productivity with our top-rated widgets!",
                inventory=FULL_SHELF,
                price="99.99",
                stock_added=FULL_SHELF,
            )
        )
