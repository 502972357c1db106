from dbos import DBOS, SetWorkflowID
from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse

from widget_store.workflows import PAYMENT_ID, checkout_workflow

router = APIRouter()


@router.post("/checkout/{key}", response_class=PlainTextResponse)
def checkout(key: str) -> str:
    # Start checkout_workflow(key) under the key, wait for its event PAYMENT_ID, and answer it; 409 when it is None.
    ...
