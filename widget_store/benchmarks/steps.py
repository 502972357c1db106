"""An app to measure: workflows that do nothing but take steps.

It is a text, as the lab itself never gets hold of DBOS: a store's process loads it as it loads a learner's file.
"""

APP = """
import asyncio
import time

from dbos import DBOS
from fastapi import APIRouter

from widget_store import sql_session, transaction
from widget_store.schema import products

router = APIRouter()


@DBOS.step()
def plain_step() -> None:
    pass


@transaction
def transaction_step() -> None:
    sql_session().execute(products.update().values(inventory=products.c.inventory))


@DBOS.workflow()
def take_steps(kind: str, how_many: int) -> float:
    step = {"plain": plain_step, "transaction": transaction_step}[kind]
    started = time.perf_counter()
    for _ in range(how_many):
        step()
    return time.perf_counter() - started


@router.post("/steps/{kind}/{how_many}")
async def steps(kind: str, how_many: int) -> float:
    return await asyncio.to_thread(take_steps, kind, how_many)
"""
