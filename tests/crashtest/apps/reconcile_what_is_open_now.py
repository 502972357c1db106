"""A reconciliation that looks for open payments outside of a step: recovered, it finds fewer.

They are its first steps then, and those are recorded already.

broken at: reconcile/1.book/effect/after
broken at: reconcile/1.book/checkpoint/*
broken at: reconcile/2.book/*
broken at: reconcile/3.book/effect/before
"""

import os
from datetime import datetime

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "invoices", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
invoices = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))

PAY = (
    "UPDATE invoices SET paid = paid + (SELECT amount FROM payments WHERE id = :payment)"
    " WHERE id = (SELECT invoice FROM payments WHERE id = :payment)"
)


def on_launch() -> None:
    DBOS.apply_schedules([{"schedule_name": "nightly", "workflow_fn": reconcile, "schedule": "0 3 * * *"}])


def open_payments() -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT id FROM payments WHERE booked = 0 ORDER BY id")).scalars())


@invoices.transaction
def book(payment: int) -> None:
    session = invoices.sql_session()
    session.execute(sa.text(PAY), {"payment": payment})
    session.execute(sa.text("UPDATE payments SET booked = 1 WHERE id = :payment"), {"payment": payment})


@DBOS.workflow()
def reconcile(_at: datetime, _context: object) -> None:
    for payment in open_payments():
        book(payment)


if __name__ == "__main__":
    DBOS.launch()
    on_launch()
