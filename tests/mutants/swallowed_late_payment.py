"""A payment that comes too late is answered with thanks."""

from dbos import DBOS
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from widget_store import workflows
from widget_store.workflows import ORDER_ID, PAYMENT_STATUS

checkout_workflow = workflows.checkout_workflow
router = APIRouter()


@router.post("/payment_webhook/{payment_id}/{status}", response_class=PlainTextResponse)
def payment_webhook(payment_id: str, status: str) -> str:
    DBOS.send(payment_id, status, PAYMENT_STATUS)
    return str(DBOS.get_event(payment_id, ORDER_ID))
