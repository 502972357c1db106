"""An outbox: an order and the message about it are one commit; a workflow sends what lies there."""

import os

import httpx
import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

DBOS(config={"name": "orders", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
store = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))


def order(request: Request) -> PlainTextResponse:
    number = {"number": int(request.path_params["number"])}
    with engine.begin() as connection:
        new = connection.execute(sa.text("INSERT INTO orders VALUES (:number) ON CONFLICT DO NOTHING"), number)
        if new.rowcount:
            connection.execute(sa.text("INSERT INTO outbox VALUES (:number)"), number)
    return PlainTextResponse("taken")


@store.transaction
def waiting() -> list[int]:
    return list(store.sql_session().execute(sa.text("SELECT number FROM outbox ORDER BY number")).scalars())


@DBOS.step()
def send(number: int) -> None:
    headers = {"Idempotency-Key": f"order {number}"}
    httpx.post(f"{os.environ['MAIL_URL']}/orders", json=number, headers=headers).raise_for_status()


@store.transaction
def sent(number: int) -> None:
    store.sql_session().execute(sa.text("DELETE FROM outbox WHERE number = :number"), {"number": number})


@DBOS.workflow()
def relay() -> None:
    for number in waiting():
        send(number)
        sent(number)


web = Starlette(routes=[Route("/orders/{number:int}", order, methods=["PUT"])])

if __name__ == "__main__":
    DBOS.launch()
