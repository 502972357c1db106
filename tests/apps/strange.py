"""A checkout that does what its customer's key says, up to a `_`: return, raise, or be called something strange."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID

from widget_store import transactions
from widget_store.workflows import ORDER_ID, PAYMENT_ID

sys.path.append(str(Path(__file__).parents[2]))  # last: nothing else is taken from there

from tests.apps.strange_things import HOSTILE, NAMES, RAISED, RETURNED


class OnlyHere:
    """Of a class that no other process can import."""

    def __init__(self) -> None:
        self.note = HOSTILE


@DBOS.step(name="create_order")
def create_order(what: str) -> Any:
    if what in RAISED:
        raise RAISED[what]()
    return OnlyHere() if what == "only-here" else RETURNED[what]()


def _named(name: str) -> tuple[Callable[[], str], Callable[[], str]]:
    @DBOS.step(name=name)
    def step() -> str:
        return name

    @DBOS.workflow(name=f"workflow {name}")
    def workflow() -> str:
        return step()

    return step, workflow


BY_NAME = {key: _named(name) for key, name in NAMES.items()}


@DBOS.workflow(name="checkout_workflow")
def checkout_workflow(key: str) -> str:
    what = key.partition("_")[0]
    order_id = 1
    if what in NAMES:
        order_id = transactions.create_order()
        step, workflow = BY_NAME[what]
        step()
        with SetWorkflowID(f"{key}.{NAMES[what][:100]}"):
            DBOS.start_workflow(workflow).get_result()
        DBOS.set_event(NAMES[what], NAMES[what])
        transactions.cancel_order(order_id)
    else:
        create_order(what)
    DBOS.set_event(PAYMENT_ID, key)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
