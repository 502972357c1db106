# says: your invariant reported nothing
"""An invariant of your own for the crash test, and the store's own checkout to try it on."""

import sqlalchemy as sa

from widget_store import schema, workflows

checkout_workflow = workflows.checkout_workflow


def nothing_is_packed_unpaid(connection: sa.Connection) -> list[str]:
    """Return a sentence for each CANCELLED order of which not all DISPATCH_STEPS remain."""
    packed = sa.select(schema.orders).where(
        schema.orders.c.order_status == schema.OrderStatus.CANCELLED,
        schema.orders.c.progress_remaining > schema.DISPATCH_STEPS,
    )
    return [f"order {order.order_id} was packed" for order in connection.execute(packed)]


INVARIANTS = [nothing_is_packed_unpaid]
