"""A trip whose compensation is a plain step that adds one: done twice, it gives back what nobody has taken.

broken at: trip/7.give_back/effect/after
broken at: trip/7.give_back/body/after
broken at: trip/7.give_back/checkpoint/before
broken at: trip/8.give_back/effect/after
broken at: trip/8.give_back/body/after
broken at: trip/8.give_back/checkpoint/before
"""

import os

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "travel", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
travel = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))


def on_launch() -> None:
    DBOS.register_queue("bookings", polling_interval_sec=0.05)


@travel.transaction
def take(what: str) -> bool:
    one = "UPDATE offers SET free = free - 1 WHERE name = :what AND free > 0 RETURNING 1"
    return travel.sql_session().execute(sa.text(one), {"what": what}).first() is not None


@DBOS.step()
def give_back(what: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE offers SET free = free + 1 WHERE name = :what"), {"what": what})


@DBOS.workflow()
def book(what: str) -> bool:
    return take(what)


@DBOS.workflow()
def trip(*offers: str) -> str:
    booked: list[str] = []
    for what in offers:
        if not DBOS.enqueue_workflow("bookings", book, what).get_result():
            for each in reversed(booked):
                give_back(each)
            return f"no {what}"
        booked.append(what)
    return "booked"


if __name__ == "__main__":
    DBOS.launch()
    on_launch()
