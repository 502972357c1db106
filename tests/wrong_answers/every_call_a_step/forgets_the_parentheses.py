# says: write @DBOS.step()
"""A checkout whose calls to the database are steps."""

from dbos import DBOS, SetWorkflowID

from widget_store import transactions
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow, pace


@DBOS.step
def create_order() -> int:
    return transactions.create_order()


@DBOS.step
def reserve_inventory() -> bool:
    return transactions.reserve_inventory()


@DBOS.step
def undo_reserve_inventory() -> None:
    transactions.undo_reserve_inventory()


@DBOS.step
def mark_order_paid(order_id: int) -> None:
    transactions.mark_order_paid(order_id)


@DBOS.step
def cancel_order(order_id: int) -> None:
    transactions.cancel_order(order_id)


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
