"""A reconciliation that is one plain step of two commits a payment: what was added and not marked is added again.

broken at: reconcile/1.book_all/effect/after
broken at: reconcile/1.book_all/effect/after#[35]
broken at: reconcile/1.book_all/effect/before#[246]
"""

import os
from datetime import datetime

import sqlalchemy as sa
from dbos import DBOS

DBOS(config={"name": "invoices", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
engine = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))


def on_launch() -> None:
    DBOS.apply_schedules([{"schedule_name": "nightly", "workflow_fn": reconcile, "schedule": "0 3 * * *"}])


@DBOS.step()
def book_all() -> None:
    with engine.connect() as connection:
        payments = connection.execute(sa.text("SELECT * FROM payments WHERE booked = 0 ORDER BY id")).all()
    for payment, invoice, amount, _ in payments:
        more = "UPDATE invoices SET paid = paid + :amount WHERE id = :invoice"
        with engine.begin() as connection:
            connection.execute(sa.text(more), {"invoice": invoice, "amount": amount})
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE payments SET booked = 1 WHERE id = :payment"), {"payment": payment})


@DBOS.workflow()
def reconcile(_at: datetime, _context: object) -> None:
    book_all()


if __name__ == "__main__":
    DBOS.launch()
    on_launch()
