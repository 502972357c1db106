"""A schedule that reconciles: payments that the bank has reported are booked on their invoices."""

import os
from datetime import datetime

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "invoices", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
invoices = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])


def on_launch() -> None:
    DBOS.apply_schedules([{"schedule_name": "nightly", "workflow_fn": reconcile, "schedule": "0 3 * * *"}])


@invoices.transaction
def open_payments() -> list[int]:
    unbooked = "SELECT id FROM payments WHERE booked = 0 ORDER BY id"
    return list(invoices.sql_session().execute(sa.text(unbooked)).scalars())


@invoices.transaction
def book(payment: int) -> None:
    amount = "(SELECT amount FROM payments WHERE id = :payment)"
    invoice = "(SELECT invoice FROM payments WHERE id = :payment)"
    session = invoices.sql_session()
    session.execute(sa.text(f"UPDATE invoices SET paid = paid + {amount} WHERE id = {invoice}"), {"payment": payment})
    session.execute(sa.text("UPDATE payments SET booked = 1 WHERE id = :payment"), {"payment": payment})


@DBOS.workflow()
def reconcile(_at: datetime, _context: object) -> int:
    payments = open_payments()
    for payment in payments:
        book(payment)
    return len(payments)


if __name__ == "__main__":
    DBOS.launch()
    on_launch()
