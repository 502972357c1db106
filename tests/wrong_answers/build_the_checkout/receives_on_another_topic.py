# says: a message on the topic 'payment_status' lies unread
from dbos import DBOS, SetWorkflowID

from widget_store.transactions import (
    cancel_order,
    create_order,
    mark_order_paid,
    reserve_inventory,
    undo_reserve_inventory,
)
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow, pace


@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key

    DBOS.set_event(PAYMENT_ID, key)
    payment = DBOS.recv("payment", timeout_seconds=pace.payment_timeout)

    if payment == "paid":
        mark_order_paid(order_id)
        with SetWorkflowID(f"{key}.dispatch"):
            DBOS.start_workflow(dispatch_order_workflow, order_id)
    else:
        undo_reserve_inventory()
        cancel_order(order_id)

    DBOS.set_event(ORDER_ID, str(order_id))
    return key
