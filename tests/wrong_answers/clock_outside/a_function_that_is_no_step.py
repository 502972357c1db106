# says: DBOSUnexpectedStepError
import time

from dbos import DBOS, SetWorkflowID

from widget_store.transactions import (
    cancel_order,
    create_order,
    mark_order_paid,
    reserve_inventory,
    undo_reserve_inventory,
)
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow, pace

QUICK_SECONDS = 1.0


def now() -> float:
    return time.time()


@DBOS.step()
def thank_for_quick_payment(key: str) -> str:
    return f"thank you, {key}"


@DBOS.workflow(name="checkout_workflow")
def checkout_workflow(key: str) -> str:
    order_id = create_order()
    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key
    DBOS.set_event(PAYMENT_ID, key)
    asked_at = now()
    if DBOS.recv(PAYMENT_STATUS, timeout_seconds=pace.payment_timeout) == "paid":
        if now() - asked_at < QUICK_SECONDS:
            thank_for_quick_payment(key)
        mark_order_paid(order_id)
        with SetWorkflowID(f"{key}.dispatch"):
            DBOS.start_workflow(dispatch_order_workflow, order_id)
    else:
        undo_reserve_inventory()
        cancel_order(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
