import os

import httpx
from dbos import DBOS

from widget_store.transactions import (
    cancel_order,
    create_order,
    mark_order_paid,
    reserve_inventory,
    undo_reserve_inventory,
)
from widget_store.workflows import ORDER_ID, PAYMENT_ID

provider = httpx.Client(base_url=os.environ["PROVIDER_URL"], trust_env=False)


@DBOS.step(retries_allowed=True, max_attempts=3, interval_seconds=0.05)
def charge(key):
    answer = provider.post("/charges", json={"order": key}, headers={"Idempotency-Key": f"{key}.charge"})
    if answer.is_error:
        raise ConnectionError(f"The provider answered {answer.status_code}.")


@DBOS.step(retries_allowed=True, max_attempts=1_000_000, interval_seconds=0.05, backoff_rate=1)
def refund(key):
    answer = provider.post("/refunds", json={"order": key})
    if answer.is_error:
        raise ConnectionError(f"The provider answered {answer.status_code}.")


@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    reserve_inventory()
    DBOS.set_event(PAYMENT_ID, key)
    try:
        charge(key)
    except Exception:  # perhaps the money was taken, perhaps not
        undo_reserve_inventory()
        cancel_order(order_id)
        refund(key)  # the last: it may take as long as the provider is down
    else:
        mark_order_paid(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
