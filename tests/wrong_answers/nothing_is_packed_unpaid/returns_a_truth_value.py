# says: your invariant returned True, but must return a list
"""An invariant of your own for the crash test, and the store's own checkout to try it on."""

import sqlalchemy as sa

from widget_store import schema, workflows

checkout_workflow = workflows.checkout_workflow


def nothing_is_packed_unpaid(connection: sa.Connection) -> bool:
    """Return a sentence for each CANCELLED order of which not all DISPATCH_STEPS remain."""
    packed = sa.select(schema.orders).where(
        schema.orders.c.order_status == schema.OrderStatus.CANCELLED,
        schema.orders.c.progress_remaining != schema.DISPATCH_STEPS,
    )
    return connection.execute(packed).first() is not None


INVARIANTS = [nothing_is_packed_unpaid]
