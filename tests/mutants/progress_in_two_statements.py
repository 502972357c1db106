"""A second of dispatch is taken off in one transaction, and the order settled in a second one."""

from dbos import DBOS, SetWorkflowID

from widget_store import sql_session, transaction
from widget_store.schema import DISPATCH_STEPS, OrderStatus, orders
from widget_store.transactions import (
    cancel_order,
    create_order,
    mark_order_paid,
    reserve_inventory,
    undo_reserve_inventory,
)
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, pace


@transaction
def take_one_second_off(order_id: int) -> int:
    one_less = (
        orders.update().where(orders.c.order_id == order_id).values(progress_remaining=orders.c.progress_remaining - 1)
    )
    left: int = sql_session().execute(one_less.returning(orders.c.progress_remaining)).scalar_one()
    return left


@transaction
def settle(order_id: int) -> None:
    sql_session().execute(
        orders.update().where(orders.c.order_id == order_id).values(order_status=OrderStatus.DISPATCHED)
    )


@DBOS.step()
def progress(order_id: int) -> None:
    if take_one_second_off(order_id) == 0:
        settle(order_id)


@DBOS.workflow()
def dispatch_order_workflow(order_id: int) -> None:
    for _ in range(DISPATCH_STEPS):
        DBOS.sleep(pace.dispatch_interval)
        progress(order_id)


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
