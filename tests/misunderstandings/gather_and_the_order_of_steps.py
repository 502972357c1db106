"""A step has the number of its call. In a gather of several steps each, a recovery may call them in another order."""

import asyncio
import os

from dbos import DBOS

URL = os.environ.get("DATABASE_URL", "sqlite:///gather_and_the_order_of_steps.sqlite")


@DBOS.step()
async def price(item: str) -> str:
    await asyncio.sleep(1.0 if item == "apple" else 0.0)  # the answer for the apple takes longer
    return f"price of the {item}"


@DBOS.step()
async def label(item: str, price: str) -> str:
    return f"{item}: {price}"


async def price_and_label(item: str) -> str:
    its_price = await price(item)
    await asyncio.sleep(0.4 if item == "bread" else 0.0)  # work that is no step
    return await label(item, its_price)


@DBOS.workflow()
async def in_one_gather() -> list[str]:
    return await asyncio.gather(price_and_label("apple"), price_and_label("bread"))


@DBOS.workflow()
async def round_by_round() -> list[str]:
    prices = await asyncio.gather(price("apple"), price("bread"))
    return await asyncio.gather(label("apple", prices[0]), label("bread", prices[1]))


async def main() -> None:
    for workflow in (in_one_gather, round_by_round):
        first = await DBOS.start_workflow_async(workflow)
        print(workflow.__name__)
        print("  first run:    ", await first.get_result())
        # Steps 1 to 3 are recorded, as after a crash: the fourth runs again.
        again = await DBOS.fork_workflow_async(first.workflow_id, 4)
        print("  after a crash:", await again.get_result())


DBOS(config={"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"})
DBOS.launch()
asyncio.run(main())
DBOS.destroy()
