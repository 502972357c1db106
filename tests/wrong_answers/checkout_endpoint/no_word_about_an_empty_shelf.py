# says: answer with 409 then
from dbos import DBOS, SetWorkflowID
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from widget_store.workflows import PAYMENT_ID, checkout_workflow

router = APIRouter()


@router.post("/checkout/{key}", response_class=PlainTextResponse)
def checkout(key: str) -> str:
    with SetWorkflowID(key):
        DBOS.start_workflow(checkout_workflow, key)
    payment_id = DBOS.get_event(key, PAYMENT_ID)
    return str(payment_id)
