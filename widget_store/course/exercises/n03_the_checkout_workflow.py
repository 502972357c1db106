"""The exercises of notebook 03: build the checkout, fix one that does not stop, and dispatch."""

from fnmatch import fnmatchcase
from pathlib import Path

from widget_store.course.checks import Wrong, on_file
from widget_store.course.judging import must_be_safe, try_points
from widget_store.crashtest.results import Report, Verdict
from widget_store.words import counted

_STEPS = 10


@on_file(
    "03",
    asks="build the whole checkout: paid, declined, no payment in time, sold out",
    hint="Four steps are always the same: create_order, reserve_inventory, the event PAYMENT_ID, DBOS.recv. An empty "
    "shelf ends the checkout after the second one: publish both events, and return. After DBOS.recv there are two "
    "branches, and both end with the event ORDER_ID.",
)
def build_the_checkout(file: Path) -> str:
    """Four scenarios, and a kill where each of the two ends has done its work and has no record of it."""
    points = ("checkout_workflow/*.mark_order_paid/effect/after", "checkout_workflow/*.undo_reserve_inventory/*/after")
    report = try_points(file, "paid", "declined", "payment timeout", "sold out", points=points)
    _must_tell_the_customer(report)
    kills = must_be_safe(report)
    _must_keep_the_order(report)
    return f"All four scenarios ended as they should, also in {counted(kills, 'run')} with a crash."


@on_file(
    "03",
    asks="find the missing line, and write it",
    hint="On an empty shelf, the order is cancelled and the events are published. Which line ends the checkout then?",
)
def missing_return(file: Path) -> str:
    """Sold out, and the order is cancelled once; and those who pay still get their widget."""
    report = try_points(file, "sold out", "paid", points=("checkout_workflow/*.cancel_order/effect/after",))
    _must_tell_the_customer(report)
    must_be_safe(report)
    again = [run.scenario for run in report.recorded if _times("*.cancel_order/effect/after", run.reached) > 1]
    if again:
        raise Wrong(
            f"In the scenario “{again[0]}”, the order is cancelled twice: the checkout does not stop there yet."
        )
    return (
        "Sold out: the order is cancelled once, nothing is given back, and the customer is told. A customer who pays "
        "still gets the widget."
    )


@on_file(
    "03",
    asks="write the dispatch: ten durable waits, and a step of progress after each",
    hint="Write a for loop over range(DISPATCH_STEPS). Which sleep leaves a checkpoint: time.sleep or DBOS.sleep?",
)
def durable_dispatch(file: Path) -> str:
    """Dispatched in ten steps that can be killed, with waits that do not start again."""
    report = try_points(file, "paid", points=("dispatch_order_workflow/1[0-3].*/*/after",))
    (undisturbed,) = report.recorded
    waits = _times("dispatch_order_workflow/*.sleep/checkpoint/after", undisturbed.reached)
    if undisturbed.verdict == Verdict.SAFE and "sleep" not in file.read_text(encoding="utf-8"):
        raise Wrong("The order is dispatched at once: there is no wait between its steps. Call DBOS.sleep before each.")
    if undisturbed.verdict == Verdict.SAFE and waits < _STEPS - 1:
        raise Wrong(
            f"The order is dispatched, but of its waits only {waits} left a checkpoint. After a crash, a wait "
            "without one starts again. Use DBOS.sleep."
        )
    kills = must_be_safe(report)
    return (
        f"Dispatched, with {counted(waits, 'wait')} that left a checkpoint, also in {counted(kills, 'run')} with a "
        "crash."
    )


def _must_tell_the_customer(report: Report) -> None:
    """Of all that comes of an event that is not published, say the cause."""
    for run in report.recorded:
        told = [event for event in ("payment_id", "order_id") if _times(f"*.set_event {event}/*", run.reached)]
        is_silent = run.verdict == Verdict.HUNG or "never published" in "; ".join(run.violations)
        if is_silent and "order_id" not in told:
            what = "the event ORDER_ID is" if told else "the events PAYMENT_ID and ORDER_ID are"
            raise Wrong(
                f"In the scenario “{run.scenario}”, {what} never published, so the customer never gets an answer."
            )


def _must_keep_the_order(report: Report) -> None:
    """Of what ends well either way here: what else would go wrong in a busier shop, or for an impatient customer."""
    reached = {run.scenario: run.reached for run in report.recorded}
    undone = [point for point in reached["declined"] if point.endswith("/effect/after")]
    if undone[-2:] != sorted(undone[-2:], key=lambda point: "undo_reserve_inventory" not in point):
        raise Wrong(
            "Declined: the order is cancelled before the widget is given back. A restock in between would replace the "
            "widget, and in the end the shelf would be too full. So give it back first."
        )
    told = _place("checkout_workflow/*.set_event order_id/checkpoint/after", reached["paid"])
    if told > _place("dispatch_order_workflow/end/status/after", reached["paid"]):
        raise Wrong(
            "Paid: the customer is answered only after the dispatch. Start that workflow, and do not wait for it."
        )


def _place(pattern: str, points: list[str]) -> int:
    """Where the first such point stands; at the end, if nowhere."""
    return next((place for place, point in enumerate(points) if fnmatchcase(point, pattern)), len(points))


def _times(pattern: str, points: list[str]) -> int:
    return sum(fnmatchcase(point.partition("#")[0], pattern) for point in points)
