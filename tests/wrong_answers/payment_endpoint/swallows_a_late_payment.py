# says: was lost
import sqlalchemy as sa
from dbos import DBOS
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from widget_store import sql_session, transaction
from widget_store.schema import OrderStatus, orders
from widget_store.workflows import ORDER_ID, PAYMENT_STATUS

router = APIRouter()


@transaction
def status_of(order_id: int) -> int:
    query = sa.select(orders.c.order_status).where(orders.c.order_id == order_id)
    return sql_session().execute(query).scalar_one()


@router.post("/payment_webhook/{payment_id}/{status}", response_class=PlainTextResponse)
def payment_webhook(payment_id: str, status: str) -> str:
    DBOS.send(payment_id, status, PAYMENT_STATUS, idempotency_key=f"{payment_id}:{status}")
    order_id = DBOS.get_event(payment_id, ORDER_ID)
    return order_id
