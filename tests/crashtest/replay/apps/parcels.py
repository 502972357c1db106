"""Parcels, as an older version stored them. Nothing of the kit is imported; the tests make new versions of this text.

Run with a workflow's name: it starts one, and waits until it is killed. Each body of a step leaves a line in EFFECTS.
"""

import asyncio
import contextlib
import os
import sys
import threading
from pathlib import Path

from dbos import DBOS, SetWorkflowID, SQLAlchemyDatasource

DBOS(
    config={
        "name": "parcels",
        "system_database_url": os.environ["PARCELS_URL"],
        "application_version": "1",
        "log_level": "ERROR",
        "notification_listener_polling_interval_sec": 0.01,
    }
)
datasource = SQLAlchemyDatasource.create(os.environ["PARCELS_DATA_URL"])


class Address:
    """Pickled by the name of the main program."""

    def __init__(self, town: str) -> None:
        self.town = town


def effect(name: str) -> None:
    with Path(os.environ["EFFECTS"]).open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")


@DBOS.step()
def weigh(parcel: str) -> int:
    effect(f"weigh {parcel}")
    return 3


@DBOS.step()
def label(parcel: str, weight: int) -> str:
    effect(f"label {parcel}")
    return f"{parcel}, {weight} kg"


@DBOS.step()
def insure(parcel: str) -> None:
    effect(f"insure {parcel}")


@datasource.transaction
def book(parcel: str) -> int:
    effect(f"book {parcel}")
    return 17


@DBOS.step()
def hand_over(town: str) -> None:
    effect(f"hand over in {town}")


@DBOS.workflow()
def invoice(parcel: str) -> str:
    return f"invoice for {label(parcel, 1)}"


@DBOS.workflow()
def customs(parcel: str) -> str:
    return f"{parcel} is cleared"


@DBOS.workflow()
def send_parcel(parcel: str, address: Address) -> int:
    weight = weigh(parcel)
    label(parcel, weight)
    number = book(parcel)
    DBOS.set_event("booking", number)
    DBOS.sleep(0.01)
    DBOS.start_workflow(invoice, parcel).get_result()
    customs(parcel)
    DBOS.recv("paid", timeout_seconds=3600)
    hand_over(address.town)
    return number


@DBOS.step()
async def ask_carrier(name: str) -> str:
    effect(f"ask {name}")
    if name == "slow":
        await asyncio.sleep(3600)
    return name


@DBOS.workflow()
async def compare_carriers(parcel: str) -> tuple[str, ...]:
    await ask_carrier(f"first for {parcel}")
    prices = await asyncio.gather(ask_carrier("fast"), ask_carrier("slow"), ask_carrier("cheap"))
    await DBOS.set_event_async("prices", prices)
    return prices


@DBOS.workflow()
def return_parcel(parcel: str) -> int:
    weight = weigh(parcel)
    label(parcel, weight)
    return weight


@DBOS.workflow()
def lose_parcel(parcel: str) -> None:
    weigh(parcel)
    raise LookupError(parcel)


def main(name: str) -> None:
    DBOS.launch()
    with SetWorkflowID(name):
        if name == "compare_carriers":
            asyncio.run(compare())
        elif name == "send_parcel":
            DBOS.start_workflow(send_parcel, "p-1", Address("Oslo"))
        else:
            with contextlib.suppress(LookupError):
                globals()[name]("p-1")
    print("started", flush=True)
    threading.Event().wait()


async def compare() -> None:
    await DBOS.start_workflow_async(compare_carriers, "p-1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
