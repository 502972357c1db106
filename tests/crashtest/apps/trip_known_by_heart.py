"""A trip whose process knows by heart what was booked. Killed, it forgets, and undoes nothing.

broken at: book/end/status/after
broken at: book/*#[23]
broken at: queue/dequeue book/status/*#[23]
broken at: trip/[2-7].*
broken at: trip/8.give_back/effect/before
"""

import os

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "travel", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
travel = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
booked: list[str] = []


def on_launch() -> None:
    DBOS.register_queue("bookings", polling_interval_sec=0.05)


@travel.transaction
def take(what: str) -> bool:
    one = "UPDATE offers SET free = free - 1 WHERE name = :what AND free > 0 RETURNING 1"
    return travel.sql_session().execute(sa.text(one), {"what": what}).first() is not None


@travel.transaction
def give_back(what: str) -> None:
    travel.sql_session().execute(sa.text("UPDATE offers SET free = free + 1 WHERE name = :what"), {"what": what})


@DBOS.workflow()
def book(what: str) -> bool:
    if is_booked := take(what):
        booked.append(what)
    return is_booked


@DBOS.workflow()
def trip(*offers: str) -> str:
    for what in offers:
        if not DBOS.enqueue_workflow("bookings", book, what).get_result():
            for each in reversed(booked):
                give_back(each)
            return f"no {what}"
    return "booked"


if __name__ == "__main__":
    DBOS.launch()
    on_launch()
