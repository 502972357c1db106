"""An invariant of your own for the crash test, and the store's own checkout to try it on."""

import sqlalchemy as sa

from widget_store import schema, workflows

checkout_workflow = workflows.checkout_workflow


def nothing_is_packed_unpaid(connection: sa.Connection) -> list[str]:
    """Return a sentence for each CANCELLED order of which not all DISPATCH_STEPS remain."""
    all_orders = connection.execute(sa.select(schema.orders))
    return [f"order {order.order_id} ..." for order in all_orders if ...]


INVARIANTS = [nothing_is_packed_unpaid]
