"""Payments that are noted by the driver itself, without a key: noted twice, they are two.

broken at: pay/1.note/effect/after
broken at: pay/1.note/body/after
broken at: pay/1.note/checkpoint/before
"""

import os
import sqlite3

import psycopg
from dbos import DBOS

URL = os.environ["DATABASE_URL"]
DBOS(config={"name": "payments", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})


@DBOS.step()
def note(payment: str, amount: int) -> None:
    if URL.startswith("sqlite:"):
        with sqlite3.connect(URL.removeprefix("sqlite:///")) as file:
            file.execute("INSERT INTO payments VALUES (?, ?)", (payment, amount))
    else:
        with psycopg.connect(URL) as connection:
            connection.execute("INSERT INTO payments VALUES (%s, %s)", (payment, amount))


@DBOS.workflow()
def pay(payment: str, amount: int) -> str:
    note(payment, amount)
    return "paid"


if __name__ == "__main__":
    DBOS.launch()
