"""The exercises of notebook 08: fix a checkout, write an invariant for the oracle, and predict a map."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from widget_store.course.checks import Wrong, on_answer, on_file
from widget_store.course.judging import in_a_line, must_be_equal, must_be_safe, try_points
from widget_store.crashtest.results import Report, Result, Verdict
from widget_store.databases import Database
from widget_store.lab import invariants
from widget_store.lab.crash_test import single_runs
from widget_store.lab.scenarios import CANCELLED, DISPATCHED, Customer, Scenario
from widget_store.schema import DISPATCH_STEPS, PRODUCT_ID, OrderStatus, orders
from widget_store.words import counted

_TIME_LIMIT_SECONDS = 20.0


def _one_pays_and_one_declines(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    customer.expect(customer.buy("bert"), 200, "buying")
    customer.expect(customer.pay("anna"), 200, "paying")
    customer.expect(customer.pay("bert", "failed"), 200, "declining")


_TWO_CUSTOMERS = Scenario("one pays, one declines", _one_pays_and_one_declines, {DISPATCHED: 1, CANCELLED: 1})
_WHERE_MEMORY_IS_LOST = ("*/1.*/after", "*/*.mark_order_paid/effect/before", "*/*.cancel_order/effect/before")


@on_file(
    "08",
    asks="fix a checkout that keeps the order's id in memory",
    hint="A recovered process runs the workflow from the top, with an empty memory. What does a step with a checkpoint "
    "return to it? Get the order's id in this way.",
)
def order_id_in_memory(file: Path) -> str:
    """The learner fixes a checkout that loses an order's id in a crash. Two customers buy: one id is not enough."""
    report = try_points(file, _TWO_CUSTOMERS, points=_WHERE_MEMORY_IS_LOST)
    survived = must_be_safe(report)
    for point in _before_the_widget_is_reserved(report):
        result = _another_order_while_dead(file, point)
        if result.verdict != Verdict.SAFE:
            raise Wrong(
                "While the store was dead, another customer's order was created: the newest order is not always this "
                f"customer's. {in_a_line(result)}"
            )
        survived += 1
    return (
        f"Killed at {counted(survived, 'crash point')} with two customers, it settled each order as its customer was "
        "told."
    )


def _before_the_widget_is_reserved(report: Report) -> list[str]:
    """Where the first customer's order may be there, and its id may still have to be found out."""
    reached = report.recorded[0].reached
    first_steps = takewhile(lambda point: ".reserve_inventory/" not in point, reached)
    return [
        point for point in first_steps if point.startswith("checkout_workflow/") and point.endswith("/checkpoint/after")
    ]


def _another_order_while_dead(file: Path, point: str) -> Result:
    """Kill the store; while it is dead, another order is created, as by another worker; later that one is cancelled."""
    theirs: list[tuple[Database, int]] = []

    def create(database: Database) -> None:
        if not theirs:  # later it is the end
            new_order = orders.insert().values(product_id=PRODUCT_ID, order_status=OrderStatus.PENDING)
            with _changing(database) as connection:
                order_id = connection.execute(new_order.returning(orders.c.order_id)).scalar_one()
            theirs.append((database, order_id))

    def story(customer: Customer) -> None:
        customer.expect(customer.buy("anna"), 200, "buying")
        for database, order_id in theirs:
            cancelled = orders.update().where(orders.c.order_id == order_id, orders.c.order_status == 0)
            with _changing(database) as connection:
                connection.execute(cancelled.values(order_status=OrderStatus.CANCELLED))
        customer.expect(customer.pay("anna"), 200, "paying")

    scenario = Scenario("another order while the store is dead", story, {DISPATCHED: 1, CANCELLED: 1})
    with single_runs(file, _TIME_LIMIT_SECONDS) as runs:
        return runs.play(scenario, (point,), create)


@contextmanager
def _changing(database: Database) -> Iterator[sa.Connection]:
    """A connection whose changes are committed in the end."""
    engine = database.engine(poolclass=sa.NullPool)
    with engine.begin() as connection:
        yield connection


PACKS_UNPAID = """
from dbos import DBOS, SetWorkflowID

from widget_store import sql_session, transaction
from widget_store.schema import orders
from widget_store.transactions import cancel_order, create_order, mark_order_paid
from widget_store.transactions import reserve_inventory, undo_reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow


@transaction
def pack(order_id: int, steps: int) -> None:
    packed = {"progress_remaining": orders.c.progress_remaining - steps}
    sql_session().execute(orders.update().where(orders.c.order_id == order_id).values(packed))


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    order_id = create_order()
    if not reserve_inventory():
        cancel_order(order_id)
        DBOS.set_event(PAYMENT_ID, None)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key
    DBOS.set_event(PAYMENT_ID, key)
    pack(order_id, int(key.partition("-")[2]))  # the key says how much
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
"""A checkout that packs before it is paid. Unless it packs all, the kit's own invariants allow it."""
_WITH_THE_RULE_OF = """{checkout}
import runpy
from functools import wraps


def _asked(rule):
    @wraps(rule)
    def ask(connection):
        found = rule(connection)
        if found is None or isinstance(found, (str, bool, int)):
            what = "a text" if isinstance(found, str) else repr(found)
            return ["{returned}" + what]
        return found

    return ask


INVARIANTS = [_asked(rule) for rule in runpy.run_path({file!r}).get("INVARIANTS", [])]
"""
_RETURNED = "your invariant returned "
_OWN_RULES = tuple(f"{rule.name}: " for rule in invariants.INVARIANTS)
_STEPS_TO_GO = (9, 5, 0)


@on_file(
    "08",
    asks="write an invariant: no widget of a cancelled order was packed",
    hint="Select the orders whose status is CANCELLED and whose progress_remaining is not DISPATCH_STEPS. Return a "
    "list with a sentence for each. `connection.execute(query)` gives the rows.",
)
def nothing_is_packed_unpaid(file: Path) -> str:
    """The learner's invariant reports nothing for a good checkout, but does for one that packs before it is paid."""
    good = try_points(file, "paid", "declined").failures
    stories = tuple(_declines_with(to_go) for to_go in _STEPS_TO_GO)
    with _a_file(_WITH_THE_RULE_OF.format(checkout=PACKS_UNPAID, file=str(file.resolve()), returned=_RETURNED)) as bad:
        report = try_points(bad, *stories, to_the_end=True)
    told = {
        run.scenario: [each for each in run.violations if not each.startswith(_OWN_RULES)] for run in report.recorded
    }
    for sentence in (sentence for sentences in told.values() for sentence in sentences):
        if _RETURNED in sentence:
            raise Wrong(f"{sentence}, but must return a list, with a sentence for each such order.")
    for failure in good:
        raise Wrong(f"The checkout in your file is good, but your invariant reports a violation. {in_a_line(failure)}")
    for to_go, story in zip(_STEPS_TO_GO, stories, strict=True):
        packed = f"An order was CANCELLED with {to_go} of {DISPATCH_STEPS} steps to go"
        if not told[story.name]:
            raise Wrong(f"{packed}, but your invariant reported nothing. (Is it in the list INVARIANTS?)")
        if ": raised " in (first := told[story.name][0]):
            raise Wrong(f"{packed}. Your invariant failed: {first}.")
    says = told[stories[0].name][0]
    return (
        "Your invariant reports nothing for a good checkout. For one that packs before it is paid, it reports: "
        f"“{says}”."
    )


def _declines_with(steps_to_go: int) -> Scenario:
    """A customer declines when an order has so many steps to go; the key says how many were taken."""
    key = f"anna-{DISPATCH_STEPS - steps_to_go}"

    def story(customer: Customer) -> None:
        customer.buy(key)
        customer.pay(key, "failed")

    return Scenario(f"declined with {steps_to_go} steps to go", story, {CANCELLED: 1})


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
    "08",
    asks="predict the map of a plain step with two transactions in it",
    hint="A plain step without a checkpoint runs again from its first line. At which crash points is the widget "
    "back on the shelf, while the step has no checkpoint yet?",
)
def where_it_breaks(answer: Any) -> str:
    """The learner says of each crash point of a step whether a crash there breaks the books."""
    with _a_file(_TWO_IN_ONE) as checkout:
        points = tuple(f"*/6.*/{point}" for point in _ITS_POINTS)
        report = try_points(checkout, "declined", points=points, to_the_end=True)
    must_be_equal(answer, _verdicts(report), witness="it is")
    return (
        "Correct: broken at the four points from the step's first commit to DBOS's record, safe before and after. To "
        "cancel twice does no harm. To give the widget back twice does."
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
        file.write_text(text, encoding="utf-8")
        yield file
