# says: was left PENDING
"""A checkout that keeps the order's id in memory. Fix it."""

from dbos import DBOS, SetWorkflowID

from widget_store import sql_session, transaction
from widget_store.schema import PRODUCT_ID, OrderStatus, orders
from widget_store.transactions import cancel_order, mark_order_paid, reserve_inventory, undo_reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow

order_ids: dict[str, int] = {}


@transaction
def create_order_of(key: str) -> int:
    new_order = orders.insert().values(product_id=PRODUCT_ID, order_status=OrderStatus.PENDING)
    order_ids[key] = sql_session().execute(new_order.returning(orders.c.order_id)).scalar_one()
    return order_ids[key]


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    create_order_of(key)
    order_id = order_ids.get(key, 0)
    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key
    DBOS.set_event(PAYMENT_ID, key)
    if DBOS.recv(PAYMENT_STATUS, timeout_seconds=60) == "paid":
        mark_order_paid(order_id)
        with SetWorkflowID(f"{key}.dispatch"):
            DBOS.start_workflow(dispatch_order_workflow, order_id)
    else:
        undo_reserve_inventory()
        cancel_order(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
