"""The exercises of notebook 00: predict what a crash leaves."""

from typing import Any

from widget_store.course.checks import Wrong, on_answer
from widget_store.course.judging import must_be_equal
from widget_store.lab.experiment import Look, PointNotMet, crash_at
from widget_store.lab.scenarios import CANCELLED, DISPATCHED, Customer, Scenario


def _one_pays_and_one_declines(customer: Customer) -> None:
    customer.buy("anna")
    customer.buy("bert")
    customer.pay("anna")
    customer.pay("bert", "failed")


_TWO_CUSTOMERS = Scenario("one pays, one declines", _one_pays_and_one_declines, {DISPATCHED: 1, CANCELLED: 1})


@on_answer(
    "00",
    asks="predict what two customers and one crash leave",
    hint="A declined order is cancelled, and its widget goes back on the shelf. The crash changes nothing of this.",
)
def two_customers(answer: Any) -> str:
    """Two customers buy, one pays and one declines; the store dies once in between."""
    end = crash_at("*/*.reserve_inventory/effect/after", story=_TWO_CUSTOMERS).recovered
    must_be_equal(answer, {**_ends(end), "on the shelf": int(end.books["on the shelf"])})
    return "Correct: one order for each customer, and one widget less on the shelf. The crash left no trace."


@on_answer(
    "00",
    asks="name a moment at which the payment has arrived and the order is not PAID yet",
    hint="Look at the steps of an order above. The payment has arrived when `recv` has its checkpoint. "
    "The order is PAID once the work (effect) of mark_order_paid is "
    "committed. Choose a crash point in between.",
)
def between_money_and_goods(answer: Any) -> str:
    """The learner chooses a crash point; the database says what it left."""
    if not isinstance(answer, str):
        raise Wrong("The answer must be the name of a crash point, a text such as '*/*.create_order/effect/before'.")
    try:
        left = crash_at(answer).left[0]
    except PointNotMet:
        raise Wrong(
            f"A purchase that is paid does not reach {answer!r}. A STEP has a number: `*.` stands for it, "
            "as in '*/*.create_order/effect/before'. `recv` has a checkpoint only, and no effect."
        ) from None
    has_arrived = "recv" in set(left.checkpoints["what"])
    status = left.orders["status"].get(1, "not there")
    if not has_arrived:
        raise Wrong(
            f"Killed there, the payment has no checkpoint yet, and the order is {status}. Choose a later crash point."
        )
    if status != "PENDING":
        raise Wrong(
            f"Killed there, the payment has its checkpoint, but the order is {status} already. Choose an earlier "
            "crash point."
        )
    return (
        "Killed there, the payment has its checkpoint and the order is still PENDING. Recovery marked it as paid, once."
    )


def _ends(end: Look) -> dict[str, int]:
    statuses = end.orders["status"].value_counts()
    return {status: int(statuses.get(status, 0)) for status in ("DISPATCHED", "CANCELLED")}
