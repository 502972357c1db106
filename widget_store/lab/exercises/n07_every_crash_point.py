"""The exercises of notebook 07: mend a checkout, write a rule for the oracle, and predict a map."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from widget_store.lab.checks import Wrong, on_answer, on_file
from widget_store.lab.crash_test import Report
from widget_store.lab.judging import in_a_line, must_be_equal, must_be_safe, try_points
from widget_store.lab.scenarios import CANCELLED, DISPATCHED, Customer, Scenario


def _one_pays_and_one_declines(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    customer.expect(customer.buy("bert"), 200, "buying")
    customer.expect(customer.pay("anna"), 200, "paying")
    customer.expect(customer.pay("bert", "failed"), 200, "declining")


_TWO_CUSTOMERS = Scenario("one pays, one declines", _one_pays_and_one_declines, {DISPATCHED: 1, CANCELLED: 1})
_WHERE_MEMORY_IS_LOST = ("*/1.*/after", "*/*.mark_order_paid/effect/before", "*/*.cancel_order/effect/before")


@on_file(
    "07",
    asks="mend a checkout that keeps the order's id in memory",
    hint="A recovered process runs the workflow from the top, with an empty memory. What does a step that has a "
    "checkpoint hand back to it? Let the order's id come that way.",
)
def order_id_in_memory(file: Path) -> str:
    """The learner mends a checkout that loses an order's id in a crash. Two customers buy: one id is not enough."""
    survived = must_be_safe(try_points(file, _TWO_CUSTOMERS, points=_WHERE_MEMORY_IS_LOST))
    return f"Killed at {survived} crash points with two customers, each order was settled as its customer was told."


PACKS_UNPAID = """
from dbos import DBOS, SetWorkflowID

from widget_store import sql_session, transaction
from widget_store.schema import orders
from widget_store.transactions import cancel_order, create_order, mark_order_paid
from widget_store.transactions import reserve_inventory, undo_reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow


@transaction
def pack(order_id: int) -> None:
    one_step = {"progress_remaining": orders.c.progress_remaining - 1}
    sql_session().execute(orders.update().where(orders.c.order_id == order_id).values(one_step))


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    order_id = create_order()
    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key
    DBOS.set_event(PAYMENT_ID, key)
    pack(order_id)
    if DBOS.recv(PAYMENT_STATUS, timeout_seconds=60) == "paid":
        mark_order_paid(order_id)
        with SetWorkflowID(f"{key}.dispatch"):
            DBOS.start_workflow(dispatch_order_workflow, order_id)
    else:
        undo_reserve_inventory()
        cancel_order(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
"""
"""A checkout that takes the first step of the dispatch before it is paid. The kit's own invariants allow it."""
_WITH_THE_RULE_OF = """{checkout}
import runpy

INVARIANTS = runpy.run_path({file!r}).get("INVARIANTS", [])
"""


@on_file(
    "07",
    asks="write an invariant: of a cancelled order, nothing was packed",
    hint="Select the orders whose status is CANCELLED and whose progress_remaining is not DISPATCH_STEPS, and return a "
    "list with a sentence for each. `connection.execute(query)` gives the rows.",
)
def nothing_is_packed_unpaid(file: Path) -> str:
    """The learner's rule is silent about a good checkout, and not about one that packs before it is paid."""
    for failure in try_points(file, "paid", "declined").failures:
        raise Wrong(f"The checkout in your file is good, and your rule complains. {in_a_line(failure)}")
    with _a_file(_WITH_THE_RULE_OF.format(checkout=PACKS_UNPAID, file=str(file.resolve()))) as broken:
        told = [sentence for failure in try_points(broken, "declined").failures for sentence in failure.violations]
    if not told:
        raise Wrong(
            "An order was CANCELLED with 9 of 10 steps to go, and your rule said nothing. "
            "(Is it in the list INVARIANTS?)"
        )
    if ": raised " in told[0]:
        raise Wrong(f"An order was CANCELLED with 9 of 10 steps to go. Instead of a sentence: {told[0]}.")
    return f"It is silent about a good checkout. Of one that packs before it is paid it says: “{told[0]}”."


_TWO_IN_ONE = """
from dbos import DBOS, SetWorkflowID

from widget_store.transactions import cancel_order, create_order, mark_order_paid
from widget_store.transactions import reserve_inventory, undo_reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow


@DBOS.step()
def give_back_and_cancel(order_id: int) -> None:
    undo_reserve_inventory()
    cancel_order(order_id)


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    order_id = create_order()
    reserve_inventory()
    DBOS.set_event(PAYMENT_ID, key)
    if DBOS.recv(PAYMENT_STATUS, timeout_seconds=60) == "paid":
        mark_order_paid(order_id)
        with SetWorkflowID(f"{key}.dispatch"):
            DBOS.start_workflow(dispatch_order_workflow, order_id)
    else:
        give_back_and_cancel(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
"""
_ITS_POINTS = (
    "body/before",
    "effect/before",
    "effect/after",
    "effect/before#2",
    "effect/after#2",
    "checkpoint/before",
    "checkpoint/after",
)


@on_answer(
    "07",
    asks="predict the map of a plain step with two transactions in it",
    hint="A plain step without a checkpoint runs again from its first line. At which of the crash points has the "
    "widget been given back, and has the step no checkpoint yet?",
)
def where_it_breaks(answer: Any) -> str:
    """The learner says of each crash point of a step whether a crash there breaks the books."""
    with _a_file(_TWO_IN_ONE) as checkout:
        points = tuple(f"*/6.*/{point}" for point in _ITS_POINTS)
        report = try_points(checkout, "declined", points=points, to_the_end=True)
    must_be_equal(answer, _verdicts(report), witness="it is")
    return (
        "So it is: broken from the first commit of its own to the record of DBOS, four points on end; safe before and "
        "after. The cancelling is harmless when done twice. The giving back is not."
    )


def _verdicts(report: Report) -> dict[str, str]:
    """The verdict at each crash point, by the end of its name."""
    found = {result.point.split("/", 2)[2]: result.verdict.value for result in report.results}
    return {point: found.get(point, "never met") for point in _ITS_POINTS}


@contextmanager
def _a_file(text: str) -> Iterator[Path]:
    """A Python file for a while, which a store's process can load."""
    with tempfile.TemporaryDirectory(prefix="widget-store-exercise-") as folder:
        file = Path(folder) / "given_checkout.py"
        file.write_text(text)
        yield file
