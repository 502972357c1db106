# says: 99 are there and 0 are held by orders
"""A checkout that takes and gives back its widget in transactions of its own."""

import sqlalchemy as sa
from dbos import DBOS, SetWorkflowID

from widget_store import sql_session, transaction
from widget_store.transactions import cancel_order, create_order, mark_order_paid
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow, pace


@transaction
def take_one() -> bool:
    take_one = sa.text("UPDATE products SET inventory = inventory - 1 WHERE inventory > 0 RETURNING inventory")
    return sql_session().execute(take_one).first() is not None


@DBOS.step()
def reserve_inventory() -> bool:
    return take_one()


@transaction
def undo_reserve_inventory() -> None:
    sql_session().execute(sa.text("UPDATE products SET inventory = inventory + 1"))


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
