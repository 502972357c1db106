"""A checkout whose calls to the database leave no checkpoints."""

from contextvars import Context

from dbos import DBOS, SetWorkflowID

from widget_store import transactions
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow, pace


def create_order() -> int:
    return Context().run(transactions.create_order)


def reserve_inventory() -> bool:
    return Context().run(transactions.reserve_inventory)


def undo_reserve_inventory() -> None:
    Context().run(transactions.undo_reserve_inventory)


def mark_order_paid(order_id: int) -> None:
    Context().run(transactions.mark_order_paid, order_id)


def cancel_order(order_id: int) -> None:
    Context().run(transactions.cancel_order, order_id)


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
        with SetWorkflowID(f"{key}.dispatch"):
            DBOS.start_workflow(dispatch_order_workflow, order_id)
    else:
        undo_reserve_inventory()
        cancel_order(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
