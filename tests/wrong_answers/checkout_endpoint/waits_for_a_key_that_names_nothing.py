# says: Two clicks made two checkouts: the key names no workflow
from dbos import DBOS
from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse

from widget_store.workflows import PAYMENT_ID, checkout_workflow

router = APIRouter()


@router.post("/checkout/{key}", response_class=PlainTextResponse)
def checkout(key: str) -> str:
    DBOS.start_workflow(checkout_workflow, key)
    payment_id = DBOS.get_event(key, PAYMENT_ID)
    if payment_id is None:
        raise HTTPException(409, "Out of stock.")
    return payment_id
