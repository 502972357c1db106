"""Prices and labels in one asyncio.gather: after a crash, the second steps are started in another order.

The quick shop's label is step 3. Once the slow shop's price is recorded, too, a recovery gives the slow one step 3.

broken at: quote/1.price/checkpoint/after
broken at: quote/4.label/*
broken at: quote/5.save/body/before
broken at: quote/5.save/effect/before
"""

import asyncio
import os

import sqlalchemy as sa
from dbos import DBOS

DBOS(config={"name": "quotes", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
engine = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))

TAKES_SECONDS = {"slow": 0.6, "quick": 0.0}
AND_THEN_SECONDS = {"slow": 0.0, "quick": 0.1}


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


async def price_and_label(shop: str) -> str:
    its_price = await price(shop)
    await asyncio.sleep(AND_THEN_SECONDS[shop])  # work that is no step
    return await label(shop, its_price)


@DBOS.workflow()
async def quote() -> str:
    labels = await asyncio.gather(price_and_label("slow"), price_and_label("quick"))
    await save(f"slow is {labels[0]}, quick is {labels[1]}")
    return "quoted"


if __name__ == "__main__":
    DBOS.launch()
