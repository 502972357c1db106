"""The database operations of the store. In a workflow, each happens exactly once.

Each is one conditional statement wherever one will do: it states what must be true *and* changes it, so two customers
can't both take the last widget, and nothing needs a lock that is held while thinking.
"""

import sqlalchemy as sa

from widget_store.exactly_once import sql_session, transaction
from widget_store.schema import FULL_SHELF, PRODUCT_ID, OrderStatus, orders, products


@transaction
def create_order() -> int:
    """Create a PENDING order and return its id."""
    new_order = orders.insert().values(product_id=PRODUCT_ID, order_status=OrderStatus.PENDING)
    order_id: int = sql_session().execute(new_order.returning(orders.c.order_id)).scalar_one()
    return order_id


@transaction
def reserve_inventory() -> bool:
    """Take one widget off the shelf; return False, and change nothing, when the shelf is empty."""
    take_one = (
        products.update()
        .where(products.c.product_id == PRODUCT_ID, products.c.inventory > 0)
        .values(inventory=products.c.inventory - 1)
        .returning(products.c.inventory)
    )
    return sql_session().execute(take_one).one_or_none() is not None


@transaction
def undo_reserve_inventory() -> None:
    """Put the widget that was reserved back on the shelf."""
    put_back = products.update().where(products.c.product_id == PRODUCT_ID).values(inventory=products.c.inventory + 1)
    sql_session().execute(put_back)


@transaction
def mark_order_paid(order_id: int) -> None:
    """Turn a PENDING order into a PAID one."""
    sql_session().execute(_settle(order_id, OrderStatus.PAID))


@transaction
def cancel_order(order_id: int) -> None:
    """Turn a PENDING order into a CANCELLED one. Giving its widget back is `undo_reserve_inventory`'s work."""
    sql_session().execute(_settle(order_id, OrderStatus.CANCELLED))


@transaction
def update_order_progress(order_id: int) -> int:
    """Take one second off a PAID order's dispatch, and call it DISPATCHED at zero; return the seconds that remain."""
    left = orders.c.progress_remaining - 1
    one_second_on = (
        orders.update()
        .where(orders.c.order_id == order_id, orders.c.order_status == OrderStatus.PAID)
        .values(
            progress_remaining=left,
            order_status=sa.case((left == 0, OrderStatus.DISPATCHED), else_=OrderStatus.PAID),
        )
        .returning(orders.c.progress_remaining)
    )
    return sql_session().execute(one_second_on).scalar_one_or_none() or 0


@transaction
def restock() -> int:
    """Fill the shelf, less what PENDING orders may still give back, and return how many widgets were added.

    An order that is PENDING may be cancelled, and then its widget returns. Without counting it, the shelf would end up
    past full. The first statement changes nothing, but locks the product row: while we count, no widget is taken or
    given back.
    """
    session = sql_session()
    lock_shelf = products.update().where(products.c.product_id == PRODUCT_ID).values(inventory=products.c.inventory)
    inventory = session.execute(lock_shelf.returning(products.c.inventory)).scalar_one()
    pending = session.execute(
        sa.select(sa.func.count()).where(orders.c.order_status == OrderStatus.PENDING)
    ).scalar_one()
    missing: int = max(0, FULL_SHELF - pending - inventory)
    session.execute(
        products.update()
        .where(products.c.product_id == PRODUCT_ID)
        .values(inventory=inventory + missing, stock_added=products.c.stock_added + missing)
    )
    return missing


def _settle(order_id: int, status: OrderStatus) -> sa.Update:
    """The change of a PENDING order to another status; an order already settled stays as it is."""
    return (
        orders.update()
        .where(orders.c.order_id == order_id, orders.c.order_status == OrderStatus.PENDING)
        .values(order_status=status)
    )
