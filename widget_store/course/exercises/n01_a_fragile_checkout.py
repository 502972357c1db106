"""The exercises of notebook 01: a checkout without a workflow, and how far one gets by remembering more."""

from pathlib import Path
from typing import Any

from widget_store.course.checks import SOLUTIONS, on_answer, on_file
from widget_store.course.judging import in_a_line, must_be_equal, must_be_safe, try_points
from widget_store.lab.experiment import crash_at
from widget_store.lab.scenarios import DISPATCHED, Customer, Scenario
from widget_store.words import counted

_FIRST_TIME_ONLY = ("http/*/before", "http/*/after")  # each commit of an HTTP call, and no repetition (#2, #3, …)


def _bert_comes_when_anna_waits(customer: Customer) -> None:
    customer.buy("anna")
    customer.buy("bert")
    customer.pay("anna")
    customer.pay("bert")


_TWO_CUSTOMERS = Scenario("two customers pay", _bert_comes_when_anna_waits, {DISPATCHED: 2})


@on_file(
    "01",
    asks="finish a plain checkout: an empty shelf, and a payment that failed",
    hint="widget_store.transactions has cancel_order(order_id) and undo_reserve_inventory(). A declined order gives "
    "its widget back and is cancelled. An order that found no widget is cancelled too, but has nothing to give back.",
)
def plain_checkout(file: Path) -> str:
    """Nothing is killed: three scenarios have to end well."""
    must_be_safe(try_points(file, "paid", "declined", "sold out"))
    return (
        "Without a crash, all three scenarios end well: a paid order is dispatched, a declined one gives its widget "
        "back, and an empty shelf sells nothing."
    )


@on_answer(
    "01",
    asks="predict what a crash leaves of two purchases in a plain checkout",
    hint="Go through it on paper: what is committed when the process dies, and what is in memory only? Then the bank "
    "reports to a new process. Bert had no answer, so he asks once more.",
)
def what_memory_forgets(answer: Any) -> str:
    """Anna waits to pay when the process dies in the midst of Bert's purchase."""
    plain = SOLUTIONS / f"{plain_checkout.__name__}.py"
    end = crash_at("http/create_order/effect/after#2", story=_TWO_CUSTOMERS, app=plain).recovered
    statuses = end.orders["status"].value_counts()
    counts = {status: int(statuses.get(status, 0)) for status in ("DISPATCHED", "PENDING")}
    must_be_equal(answer, {**counts, "on the shelf": int(end.books["on the shelf"])})
    return (
        "Correct: Anna has paid, but the new process does not know her order. Bert has two orders, one without a "
        "widget."
    )


@on_file(
    "01",
    asks="keep the key of a purchase in the database, so that a retry makes no second order",
    hint="Use all four pieces in begin_purchase: look for the key first. Only if it is not there, add an order, take a "
    "widget, and note the key. In order_of, look in the same table.",
)
def remember_the_key(file: Path) -> str:
    """Killed at every commit of a paid purchase, the customer's retry and the bank's must find the order again."""
    survived = must_be_safe(try_points(file, "paid", points=_FIRST_TIME_ONLY))
    seen = f"Killed at {counted(survived, 'crash point')}, it sold one widget to one customer each time."
    declined = try_points(file, "declined", points=_FIRST_TIME_ONLY)
    if not declined.failures:
        return f"{seen} It also survives a declined payment."
    return f"{seen} What still breaks: {in_a_line(declined.failures[0])}"
