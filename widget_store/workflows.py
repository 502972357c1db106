"""The two durable workflows: the checkout, which a customer starts, and the dispatch, which a paid checkout starts.

DBOS checkpoints each step. When the process dies, the workflow is started again from the top, and every step that has a
checkpoint returns its recorded result instead of running: so it goes on where it was.
"""

from dataclasses import dataclass

from dbos import DBOS, SetWorkflowID

from widget_store.schema import DISPATCH_STEPS
from widget_store.transactions import (
    cancel_order,
    create_order,
    mark_order_paid,
    reserve_inventory,
    undo_reserve_inventory,
    update_order_progress,
)

PAYMENT_ID = "payment_id"
"""The event with which a checkout publishes its payment id. Its value is None when there is nothing to pay for."""
ORDER_ID = "order_id"
"""The event with which a checkout ends. Its value is the order's id, as text."""
PAYMENT_STATUS = "payment_status"
"""The topic on which a payment is reported. The message is "paid" or "failed"."""


@dataclass
class Pace:
    """How long the workflows wait, in seconds. The server sets these from the settings before it launches DBOS.

    Attributes:
        payment_timeout: How long a checkout waits for its payment.
        dispatch_interval: How long the dispatch sleeps before each of its steps of progress.
    """

    payment_timeout: float = 60.0
    dispatch_interval: float = 1.0


pace = Pace()
"""How long the workflows of this process wait. A checkout of your own reads it, too."""


@DBOS.workflow(name="checkout_workflow")
def checkout_workflow(key: str) -> str:
    """Sell one widget: create the order, reserve stock, wait for the payment, then dispatch it or undo what was done.

    Args:
        key: The customer's idempotency key, which is also this workflow's id and the payment's: one key, one order.

    Returns:
        The key.
    """
    order_id = create_order()

    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)  # nothing to pay for: the customer is told at once
        DBOS.set_event(ORDER_ID, str(order_id))
        return key  # nothing was taken, so nothing is given back

    DBOS.set_event(PAYMENT_ID, key)
    payment = DBOS.recv(PAYMENT_STATUS, timeout_seconds=pace.payment_timeout)

    if payment == "paid":
        mark_order_paid(order_id)
        with SetWorkflowID(f"{key}.dispatch"):  # an id that no customer's key can be: keys have no dot
            DBOS.start_workflow(dispatch_order_workflow, order_id)
    else:  # declined, or no word in time
        undo_reserve_inventory()  # before the order stops being PENDING, so that a restock in between still counts it
        cancel_order(order_id)

    DBOS.set_event(ORDER_ID, str(order_id))
    return key


@DBOS.workflow(name="dispatch_order_workflow")
def dispatch_order_workflow(order_id: int) -> None:
    """Dispatch a paid order, one durable second at a time, until it is DISPATCHED."""
    for _ in range(DISPATCH_STEPS):
        DBOS.sleep(pace.dispatch_interval)
        update_order_progress(order_id)
