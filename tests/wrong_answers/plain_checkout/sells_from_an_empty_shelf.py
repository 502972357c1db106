# says: buying what is sold out was answered with 200
"""A checkout as plain functions: each call to the database is a transaction, and nothing ties them together."""

import time

from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse

from widget_store import transactions
from widget_store.schema import DISPATCH_STEPS
from widget_store.workflows import pace

router = APIRouter(default_response_class=PlainTextResponse)
order_of: dict[str, int] = {}  # the order that belongs to a payment id


@router.post("/checkout/{key}")
def checkout(key: str) -> str:
    """Start a purchase. The answer is the payment id: the customer's key will do."""
    if key not in order_of:  # who asks again with the same key gets no second order
        order_id = transactions.create_order()
        is_reserved = transactions.reserve_inventory()
        if not is_reserved:
            transactions.cancel_order(order_id)
        order_of[key] = order_id
    return key


@router.post("/payment_webhook/{payment_id}/{status}")
def payment_webhook(payment_id: str, status: str) -> str:
    """The bank reports a payment: its status is "paid" or "failed". The answer is the order's id."""
    if payment_id not in order_of:
        raise HTTPException(404, f"There is no payment {payment_id}.")
    order_id = order_of[payment_id]
    if status == "paid":
        transactions.mark_order_paid(order_id)
        for _ in range(DISPATCH_STEPS):
            time.sleep(pace.dispatch_interval)
            transactions.update_order_progress(order_id)
    else:
        transactions.undo_reserve_inventory()
        transactions.cancel_order(order_id)
    return str(order_id)
