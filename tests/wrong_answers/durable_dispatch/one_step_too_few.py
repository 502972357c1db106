# says: its dispatch ended with 1 step to go
from dbos import DBOS, SetWorkflowID

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


@DBOS.workflow()
def dispatch_order_workflow(order_id):
    for _ in range(1, DISPATCH_STEPS):
        DBOS.sleep(pace.dispatch_interval)
        update_order_progress(order_id)


@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key

    DBOS.set_event(PAYMENT_ID, key)
    payment = DBOS.recv(PAYMENT_STATUS, timeout_seconds=pace.payment_timeout)

    if payment == "paid":
        mark_order_paid(order_id)
        with SetWorkflowID(f"{key}.dispatch"):
            DBOS.start_workflow(dispatch_order_workflow, order_id)
    else:
        undo_reserve_inventory()
        cancel_order(order_id)

    DBOS.set_event(ORDER_ID, str(order_id))
    return key
