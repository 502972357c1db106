# says: another customer's letter
import sqlalchemy as sa
from dbos import DBOS, SetWorkflowID

from widget_store import sql_session, transaction
from widget_store.schema import OrderStatus, metadata, orders
from widget_store.transactions import cancel_order, create_order, reserve_inventory, undo_reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow, pace

outbox = sa.Table(  # the letters that are owed to customers
    "outbox",
    metadata,  # with the store's own tables: it makes this one too when it starts
    sa.Column("letter", sa.Text, primary_key=True),
    sa.Column("is_sent", sa.Boolean, nullable=False, default=False),
)

delivered = sa.Table(  # what the provider has put into a letter box
    "delivered",
    metadata,
    sa.Column("idempotency_key", sa.Text, primary_key=True),
    sa.Column("letter", sa.Text, nullable=False),
)


@transaction
def hand_over(letter, idempotency_key):
    """The provider's server, which is not ours: it delivers one letter for each key."""
    known = sa.select(delivered).where(delivered.c.idempotency_key == idempotency_key)
    if sql_session().execute(known).one_or_none() is None:
        sql_session().execute(delivered.insert().values(idempotency_key=idempotency_key, letter=letter))


@transaction
def mark_paid_and_owe_letter(order_id):
    pending = (orders.c.order_id == order_id) & (orders.c.order_status == OrderStatus.PENDING)
    sql_session().execute(orders.update().where(pending).values(order_status=OrderStatus.PAID))
    sql_session().execute(outbox.insert().values(letter=f"paid-{order_id}"))


@DBOS.step()
def send(letter):
    hand_over(letter, idempotency_key=letter)


@transaction
def mark_sent(letter):
    sql_session().execute(outbox.update().values(is_sent=True))


@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key

    DBOS.set_event(PAYMENT_ID, key)
    payment = DBOS.recv(PAYMENT_STATUS, timeout_seconds=pace.payment_timeout)

    if payment == "paid":
        mark_paid_and_owe_letter(order_id)
        with SetWorkflowID(f"{key}.dispatch"):
            DBOS.start_workflow(dispatch_order_workflow, order_id)
        send(f"paid-{order_id}")
        mark_sent(f"paid-{order_id}")
    else:
        undo_reserve_inventory()
        cancel_order(order_id)

    DBOS.set_event(ORDER_ID, str(order_id))
    return key


def one_letter_for_each_paid_order(connection):
    paid = """
        SELECT order_id, (SELECT count(*) FROM delivered WHERE letter = 'paid-' || order_id) AS letters
        FROM orders WHERE order_status IN (1, 2)
    """
    for order in connection.execute(sa.text(paid)):
        if order.letters != 1:
            yield f"order {order.order_id} is paid, and {order.letters} letters say so"


INVARIANTS = [one_letter_for_each_paid_order]
