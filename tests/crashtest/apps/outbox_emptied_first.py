"""An outbox that is emptied before its messages are sent: whoever dies in between sends none.

broken at: relay/1.send_all/effect/after
"""

import os

import httpx
import sqlalchemy as sa
from dbos import DBOS
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

DBOS(config={"name": "orders", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
engine = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))


def order(request: Request) -> PlainTextResponse:
    number = {"number": int(request.path_params["number"])}
    with engine.begin() as connection:
        new = connection.execute(sa.text("INSERT INTO orders VALUES (:number) ON CONFLICT DO NOTHING"), number)
        if new.rowcount:
            connection.execute(sa.text("INSERT INTO outbox VALUES (:number)"), number)
    return PlainTextResponse("taken")


@DBOS.step()
def send_all() -> None:
    with engine.begin() as connection:
        numbers = list(connection.execute(sa.text("DELETE FROM outbox RETURNING number")).scalars())
    for number in numbers:
        headers = {"Idempotency-Key": f"order {number}"}
        httpx.post(f"{os.environ['MAIL_URL']}/orders", json=number, headers=headers).raise_for_status()


@DBOS.workflow()
def relay() -> None:
    send_all()


web = Starlette(routes=[Route("/orders/{number:int}", order, methods=["PUT"])])

if __name__ == "__main__":
    DBOS.launch()
