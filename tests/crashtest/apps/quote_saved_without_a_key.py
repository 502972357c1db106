"""Prices whose quote is saved without a key: a step that runs twice saves it twice.

broken at: quote/5.save/effect/after
broken at: quote/5.save/body/after
broken at: quote/5.save/checkpoint/before
"""

import asyncio
import os

import sqlalchemy as sa
from dbos import DBOS

DBOS(config={"name": "quotes", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
engine = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))

TAKES_SECONDS = {"slow": 0.6, "quick": 0.0}


@DBOS.step()
async def price(shop: str) -> int:
    await asyncio.sleep(TAKES_SECONDS[shop])
    return len(shop)


@DBOS.step()
async def label(shop: str, price: int) -> str:
    return f"{shop}: {price}"


def insert(text: str) -> None:
    one = "INSERT INTO quotes VALUES (:text)"
    with engine.begin() as connection:
        connection.execute(sa.text(one), {"text": text})


@DBOS.step()
async def save(text: str) -> None:
    await asyncio.to_thread(insert, text)


@DBOS.workflow()
async def quote() -> str:
    prices = await asyncio.gather(price("slow"), price("quick"))
    labels = await asyncio.gather(label("slow", prices[0]), label("quick", prices[1]))
    await save(f"slow is {labels[0]}, quick is {labels[1]}")
    return "quoted"


if __name__ == "__main__":
    DBOS.launch()
