"""The exercises of notebook 03: build the checkout, fix one that does not stop, and dispatch."""

from fnmatch import fnmatchcase
from pathlib import Path

from widget_store.lab.checks import Wrong, on_file
from widget_store.lab.crash_run import Verdict
from widget_store.lab.crash_test import Report
from widget_store.lab.judging import must_be_safe, try_points

_STEPS = 10


@on_file(
    "03",
    asks="build the whole checkout: paid, declined, no payment in time, sold out",
    hint="Four steps are the same for everybody: create_order, reserve_inventory, the event PAYMENT_ID, DBOS.recv. An "
    "empty shelf ends it after the second one, with both events published. Behind the recv there are two branches, "
    "and both end with the event ORDER_ID.",
)
def build_the_checkout(file: Path) -> str:
    """Four stories, and a kill where each of the two ends has done its work and has no record of it."""
    points = ("checkout_workflow/*.mark_order_paid/effect/after", "checkout_workflow/*.undo_reserve_inventory/*/after")
    report = try_points(file, "paid", "declined", "payment timeout", "sold out", points=points)
    _must_tell_the_customer(report)
    kills = must_be_safe(report)
    _must_keep_the_order(report)
    return f"All four stories ended as they should, and so did the {kills} in which it was killed."


@on_file(
    "03",
    asks="find the line that is missing, and put it in",
    hint="An empty shelf has two consequences, and both are there. Which line says that the checkout is over?",
)
def missing_return(file: Path) -> str:
    """Sold out, and the order is cancelled once; and those who pay still get their widget."""
    report = try_points(file, "sold out", "paid", points=("checkout_workflow/*.cancel_order/effect/after",))
    _must_tell_the_customer(report)
    must_be_safe(report)
    again = [run.scenario for run in report.recorded if _times("*.cancel_order/effect/after", run.reached) > 1]
    if again:
        raise Wrong(f"In the story “{again[0]}” the order is cancelled twice: the checkout does not stop there yet.")
    return (
        "Sold out: the order is cancelled once, nothing is given back, and the customer is told. And who pays, gets it."
    )


@on_file(
    "03",
    asks="write the dispatch: ten durable waits, and a step of progress after each",
    hint="A for loop over range(DISPATCH_STEPS). Which sleep is it that leaves a checkpoint, time's or DBOS's?",
)
def durable_dispatch(file: Path) -> str:
    """Dispatched in ten steps that can be killed, with waits that are not begun anew."""
    report = try_points(file, "paid", points=("dispatch_order_workflow/1[0-3].*/*/after",))
    (undisturbed,) = report.recorded
    waits = _times("dispatch_order_workflow/*.sleep/checkpoint/after", undisturbed.reached)
    if undisturbed.verdict == Verdict.SAFE and "sleep" not in file.read_text(encoding="utf-8"):
        raise Wrong("The order is dispatched at once: there is no wait between its steps.")
    if undisturbed.verdict == Verdict.SAFE and waits < _STEPS - 1:
        raise Wrong(
            f"The order is dispatched, but only {waits} of its waits have a checkpoint: after a crash, a wait that has "
            "none is begun anew."
        )
    kills = must_be_safe(report)
    return f"Dispatched, with {waits} waits that have a checkpoint; and so it was in the {kills} runs that were killed."


def _must_tell_the_customer(report: Report) -> None:
    """Of all that comes of an event that is not published, say the cause."""
    for run in report.recorded:
        told = [event for event in ("payment_id", "order_id") if _times(f"*.set_event {event}/*", run.reached)]
        is_silent = run.verdict == Verdict.HUNG or "never published" in "; ".join(run.violations)
        if is_silent and "order_id" not in told:
            what = "the event ORDER_ID is" if told else "the events PAYMENT_ID and ORDER_ID are"
            raise Wrong(f"In the story “{run.scenario}”, the customer waits in vain: {what} never published.")


def _must_keep_the_order(report: Report) -> None:
    """Of what ends well either way here: what else would go wrong in a busier shop, or for an impatient customer."""
    reached = {run.scenario: run.reached for run in report.recorded}
    undone = [point for point in reached["declined"] if point.endswith("/effect/after")]
    if undone[-2:] != sorted(undone[-2:], key=lambda point: "undo_reserve_inventory" not in point):
        raise Wrong(
            "Declined: the order is cancelled first, and the widget given back then. A restock in between would count "
            "it as missing, and the shelf be too full in the end: give it back first."
        )
    told = _place("checkout_workflow/*.set_event order_id/checkpoint/after", reached["paid"])
    if told > _place("dispatch_order_workflow/end/status/after", reached["paid"]):
        raise Wrong("Paid: the customer is told only after the dispatch. Start that workflow, and do not wait for it.")


def _place(pattern: str, points: list[str]) -> int:
    """Where the first such point stands; at the end, if nowhere."""
    return next((place for place, point in enumerate(points) if fnmatchcase(point, pattern)), len(points))


def _times(pattern: str, points: list[str]) -> int:
    return sum(fnmatchcase(point.partition("#")[0], pattern) for point in points)
