"""A program that commits by a driver, in each way that there is, and prints what it heard of each, as JSON."""

import asyncio
import contextlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator

import psycopg

from widget_store.crashtest.past_sqlalchemy import watch_drivers

heard: list[list[str]] = []
URL, FILE = sys.argv[1:]
ADD = "INSERT INTO noted VALUES (1)"


@contextlib.contextmanager
def noted(statements: list[str]) -> Iterator[None]:
    heard.append([each for each in statements if "INSERT" in each.upper() or "COPY" in each.upper()])
    yield


def committed_by_hand() -> None:
    with contextlib.closing(psycopg.connect(URL)) as connection:
        connection.execute(ADD)
        connection.commit()


def committed_by_a_block() -> None:
    with psycopg.connect(URL) as connection:
        connection.cursor().execute(ADD)


def committed_by_itself() -> None:
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(ADD)


def committed_by_a_transaction() -> None:
    with psycopg.connect(URL, autocommit=True) as connection, connection.transaction():
        connection.execute(ADD)


def committed_by_a_statement() -> None:
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute(ADD)
        connection.execute("COMMIT")


def many_rows() -> None:
    with psycopg.connect(URL) as connection:
        connection.cursor().executemany("INSERT INTO noted VALUES (%s)", [(1,), (2,)])


def a_copy() -> None:
    with psycopg.connect(URL) as connection, connection.cursor().copy("COPY noted FROM STDIN") as rows:
        rows.write_row((1,))


def awaited() -> None:
    async def add() -> None:
        async with await psycopg.AsyncConnection.connect(URL) as connection:
            await connection.execute(ADD)

    asyncio.run(add())


def sqlite_by_hand() -> None:
    with contextlib.closing(sqlite3.connect(FILE)) as connection:
        connection.execute(ADD)
        connection.commit()


def sqlite_by_a_block() -> None:
    with contextlib.closing(sqlite3.connect(FILE)) as connection, connection:
        connection.cursor().execute(ADD)


def sqlite_by_itself() -> None:
    with contextlib.closing(sqlite3.connect(FILE, isolation_level=None)) as connection:
        connection.execute(ADD)


def sqlite_by_a_statement() -> None:
    with contextlib.closing(sqlite3.connect(FILE, isolation_level=None)) as connection:
        for each in ("BEGIN", ADD, "COMMIT"):
            connection.execute(each)


def sqlite_script() -> None:
    with contextlib.closing(sqlite3.connect(FILE)) as connection:
        connection.executescript(f"BEGIN; {ADD}; COMMIT")


def rolled_back() -> None:
    with contextlib.closing(sqlite3.connect(FILE)) as connection:
        connection.execute(ADD)
        connection.rollback()
        connection.commit()


def rolled_back_by_a_statement() -> None:
    with psycopg.connect(URL, autocommit=True) as connection:
        for each in ("BEGIN", ADD, "ROLLBACK", "BEGIN", "COMMIT"):
            connection.execute(each)


def rolled_back_by_an_exception() -> None:
    with psycopg.connect(URL) as connection:
        with contextlib.suppress(ZeroDivisionError), connection.transaction():
            connection.execute(ADD)
            raise ZeroDivisionError
        connection.execute("SELECT 1")


WAYS: list[Callable[[], None]] = [
    committed_by_hand,
    committed_by_a_block,
    committed_by_itself,
    committed_by_a_transaction,
    committed_by_a_statement,
    many_rows,
    a_copy,
    awaited,
    sqlite_by_hand,
    sqlite_by_a_block,
    sqlite_by_itself,
    sqlite_by_a_statement,
    sqlite_script,
    rolled_back,
    rolled_back_by_a_statement,
    rolled_back_by_an_exception,
]

with psycopg.connect(URL, autocommit=True) as server:
    server.execute("CREATE TABLE IF NOT EXISTS noted (n INTEGER)")
with contextlib.closing(sqlite3.connect(FILE)) as file:
    file.execute("CREATE TABLE IF NOT EXISTS noted (n INTEGER)")
watch_drivers(noted)
told = {}
for way in WAYS:
    heard.clear()
    way()
    told[way.__name__] = len([each for each in heard if each])
print(json.dumps(told))
