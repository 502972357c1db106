# says: a message on the topic 'payment' lies unread
import sqlalchemy as sa
from dbos import DBOS
from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse

from widget_store import sql_session, transaction
from widget_store.schema import OrderStatus, orders
from widget_store.workflows import ORDER_ID

router = APIRouter()


@transaction
def status_of(order_id: int) -> int:
    query = sa.select(orders.c.order_status).where(orders.c.order_id == order_id)
    return sql_session().execute(query).scalar_one()


@router.post("/payment_webhook/{payment_id}/{status}", response_class=PlainTextResponse)
def payment_webhook(payment_id: str, status: str) -> str:
    DBOS.send(payment_id, status, "payment", idempotency_key=f"{payment_id}:{status}")
    order_id = DBOS.get_event(payment_id, ORDER_ID)
    was_paid = status_of(int(order_id)) != OrderStatus.CANCELLED
    if was_paid != (status == "paid"):
        raise HTTPException(409, f"Order {order_id} was settled the other way.")
    return order_id
