"""The dispatch is a thread: it dies with the process, and nobody takes it up."""

import threading
import time

from dbos import DBOS

from widget_store.schema import DISPATCH_STEPS
from widget_store.transactions import (
    cancel_order,
    create_order,
    mark_order_paid,
    reserve_inventory,
    undo_reserve_inventory,
    update_order_progress,
)
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, pace


def dispatch(order_id: int) -> None:
    for _ in range(DISPATCH_STEPS):
        time.sleep(1)
        update_order_progress(order_id)


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    order_id = create_order()
    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key
    DBOS.set_event(PAYMENT_ID, key)
    if DBOS.recv(PAYMENT_STATUS, timeout_seconds=pace.payment_timeout) == "paid":
        mark_order_paid(order_id)
        threading.Thread(target=dispatch, args=(order_id,)).start()
    else:
        undo_reserve_inventory()
        cancel_order(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
