# says: the dispatch publishes no OUTCOME
from dbos import DBOS, SetWorkflowID
from fastapi import APIRouter, HTTPException

from widget_store import sql_session, transaction
from widget_store.schema import DISPATCH_STEPS, OrderStatus, orders, products
from widget_store.transactions import (
    cancel_order,
    create_order,
    mark_order_paid,
    reserve_inventory,
    undo_reserve_inventory,
    update_order_progress,
)
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, pace

REFUND, OUTCOME = "refund", "outcome"  # the topic of the message, and the name of the event
router = APIRouter()


@router.post("/refund/{key}")
def ask_for_refund(key: str) -> str:
    dispatch = f"{key}.dispatch"
    if DBOS.get_workflow_status(dispatch) is None:
        raise HTTPException(404, "Nothing was paid.")
    DBOS.send(dispatch, "please", REFUND, idempotency_key=f"{key}.refund")
    if DBOS.get_event(dispatch, OUTCOME, timeout_seconds=60) != "refunded":
        raise HTTPException(409, "Too late: it is dispatched.")
    return "refunded"


@transaction
def refund_order(order_id):
    paid = (orders.c.order_id == order_id) & (orders.c.order_status == OrderStatus.PAID)
    sql_session().execute(orders.update().where(paid).values(order_status=OrderStatus.CANCELLED))
    sql_session().execute(products.update().values(inventory=products.c.inventory + 1))


@DBOS.workflow()
def dispatch_order_workflow(order_id):
    for _ in range(DISPATCH_STEPS):
        if DBOS.recv(REFUND, timeout_seconds=pace.dispatch_interval):
            refund_order(order_id)
            return
        update_order_progress(order_id)
    DBOS.set_event(OUTCOME, "dispatched")


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
