"""The widget is taken first; whether there was one is looked at afterwards."""

import sqlalchemy as sa
from dbos import DBOS, SetWorkflowID

from widget_store import sql_session, transaction
from widget_store.schema import products
from widget_store.transactions import cancel_order, create_order, mark_order_paid, undo_reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow, pace


@transaction
def take_a_widget() -> None:
    sql_session().execute(products.update().values(inventory=products.c.inventory - 1))


@transaction
def there_was_one() -> bool:
    on_the_shelf: int = sql_session().execute(sa.select(products.c.inventory)).scalar_one()
    return on_the_shelf >= 0


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    order_id = create_order()
    take_a_widget()
    if not there_was_one():
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
