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
    # write your part here
    return key
