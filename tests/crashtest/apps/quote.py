"""Prices from two shops at once, with asyncio.gather: all steps of a round are started in the same order each time."""

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


def insert(quote_id: str, text: str) -> None:
    once = "INSERT INTO quotes VALUES (:id, :text) ON CONFLICT DO NOTHING"
    with engine.begin() as connection:
        connection.execute(sa.text(once), {"id": quote_id, "text": text})


@DBOS.step()
async def save(text: str) -> None:
    await asyncio.to_thread(insert, str(DBOS.workflow_id), text)


@DBOS.workflow()
async def quote() -> str:
    prices = await asyncio.gather(price("slow"), price("quick"))
    labels = await asyncio.gather(label("slow", prices[0]), label("quick", prices[1]))
    await save(f"slow is {labels[0]}, quick is {labels[1]}")
    return "quoted"


if __name__ == "__main__":
    DBOS.launch()
