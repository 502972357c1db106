"""The customer's key does not become the workflow's id: asked twice, the store sells twice."""

from dbos import DBOS
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from widget_store import workflows
from widget_store.workflows import PAYMENT_ID

checkout_workflow = workflows.checkout_workflow
router = APIRouter()


@router.post("/checkout/{key}", response_class=PlainTextResponse)
def checkout(key: str) -> str:
    handle = DBOS.start_workflow(checkout_workflow, key)
    DBOS.get_event(handle.workflow_id, PAYMENT_ID)
    return handle.workflow_id
