# says: All attempts must send the same key
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


def may_pass(failure):
    return not isinstance(failure, ValueError)


@DBOS.step(retries_allowed=True, max_attempts=4, interval_seconds=0.1, backoff_rate=2, should_retry=may_pass)
def charge(key):
    answer = provider.post(
        "/charges", json={"order": key}, headers={"Idempotency-Key": f"{key}.{DBOS.step_status.current_attempt}"}
    )
    if answer.status_code == 402:
        raise ValueError("The bank refuses this card.")
    if answer.is_error:
        raise ConnectionError(f"The provider answered {answer.status_code}.")


@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    reserve_inventory()
    DBOS.set_event(PAYMENT_ID, key)
    try:
        charge(key)
    except Exception:  # refused, or down until the last attempt
        undo_reserve_inventory()
        cancel_order(order_id)
    else:
        mark_order_paid(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
