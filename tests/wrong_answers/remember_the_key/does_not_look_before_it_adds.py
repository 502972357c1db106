# says: killed right after the commit of the work of begin_purchase
"""A plain checkout that keeps in the database which order belongs to which key."""

import time

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse

from widget_store import sql_session, transaction, transactions
from widget_store.schema import DISPATCH_STEPS, PRODUCT_ID, OrderStatus, orders
from widget_store.workflows import pace

router = APIRouter(default_response_class=PlainTextResponse)

# Four pieces of database work. A piece belongs to the transaction that calls it, and is committed with it.


def find(key: str) -> int | None:
    """The order that was noted for a key; None when there is none."""
    sql_session().execute(
        sa.text("CREATE TABLE IF NOT EXISTS purchases (key TEXT PRIMARY KEY, order_id INTEGER NOT NULL)")
    )
    found = sql_session().execute(sa.text("SELECT order_id FROM purchases WHERE key = :key"), {"key": key})
    return found.scalar_one_or_none()


def note(key: str, order_id: int) -> None:
    """Note which order belongs to a key."""
    values = {"key": key, "order_id": order_id}
    sql_session().execute(sa.text("INSERT INTO purchases (key, order_id) VALUES (:key, :order_id)"), values)


def add_order() -> int:
    """Add a PENDING order and return its id."""
    new_order = orders.insert().values(product_id=PRODUCT_ID, order_status=OrderStatus.PENDING)
    order_id: int = sql_session().execute(new_order.returning(orders.c.order_id)).scalar_one()
    return order_id


def take_widget() -> None:
    """Take a widget off the shelf, or refuse: then the whole transaction is undone, as if it had never begun."""
    take_one = sa.text("UPDATE products SET inventory = inventory - 1 WHERE inventory > 0 RETURNING inventory")
    if sql_session().execute(take_one).first() is None:
        raise HTTPException(409, "Out of stock: nothing was ordered.")


@transaction
def begin_purchase(key: str) -> None:
    find(key)
    order_id = add_order()
    take_widget()
    note(key, order_id)


@transaction
def order_of(payment_id: str) -> int | None:
    return find(payment_id)


@router.post("/checkout/{key}")
def checkout(key: str) -> str:
    begin_purchase(key)
    return key


@router.post("/payment_webhook/{payment_id}/{status}")
def payment_webhook(payment_id: str, status: str) -> str:
    order_id = order_of(payment_id)
    if order_id is None:
        raise HTTPException(404, f"There is no payment {payment_id}.")
    if status == "paid":
        transactions.mark_order_paid(order_id)
        for _ in range(DISPATCH_STEPS):
            time.sleep(pace.dispatch_interval)
            transactions.update_order_progress(order_id)
    else:
        transactions.undo_reserve_inventory()
        transactions.cancel_order(order_id)
    return str(order_id)
