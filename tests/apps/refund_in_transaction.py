"""A refund that an endpoint begins, and a workflow ends: one commit has both. For PostgreSQL only."""

from functools import cache

from dbos import DBOS, DBOSClient
from fastapi import APIRouter

from widget_store import sql_session, transaction
from widget_store.schema import OrderStatus, orders
from widget_store.transactions import undo_reserve_inventory

router = APIRouter()


def on_launch():
    DBOS.register_queue("refunds", polling_interval_sec=0.05)


@cache
def client():
    """A client on the engine of the store's own transactions."""
    return DBOSClient(system_database_engine=sql_session().get_bind().engine, lazy=True)


@DBOS.workflow()
def give_back(_order_id):
    undo_reserve_inventory()


@transaction
def cancel_paid_order(order_id):
    paid = (orders.c.order_id == order_id) & (orders.c.order_status == OrderStatus.PAID)
    cancel = orders.update().where(paid).values(order_status=OrderStatus.CANCELLED)
    if sql_session().execute(cancel).rowcount == 0:
        return False
    options = {"queue_name": "refunds", "workflow_name": "give_back", "workflow_id": f"refund-{order_id}"}
    client().enqueue_in_transaction(sql_session(), options, order_id)
    return True


@router.post("/refund/{order_id}")
def refund(order_id: int) -> str:
    return "refunded" if cancel_paid_order(order_id) else "nothing to refund"
