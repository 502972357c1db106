"""The exercises of notebook 02: steps, the gap behind a step's work, and transactions that have none."""

from pathlib import Path
from typing import Any

from widget_store.lab.checks import SOLUTIONS, Wrong, on_answer, on_file
from widget_store.lab.experiment import PointNotMet, crash_at
from widget_store.lab.judging import must_be_safe, try_points

_CALLS = ("create_order", "reserve_inventory", "undo_reserve_inventory", "mark_order_paid", "cancel_order")


@on_file(
    "02",
    asks="make every call to the database a step",
    hint="Write @DBOS.step(), with its parentheses, above each of the five functions. Context().run hides a call "
    "from DBOS: in a step there is no need for it.",
)
def every_call_a_step(file: Path) -> str:
    """Killed right after each checkpoint: what is recorded must not be done again."""
    report = try_points(file, "declined", points=("checkout_workflow/*/checkpoint/after",))
    survived = must_be_safe(report)
    paid = try_points(file, "paid")
    must_be_safe(paid)
    seen = [point for run in [*report.recorded, *paid.recorded] for point in run.reached]
    for call in _CALLS:
        if not any(f".{call}/" in point for point in seen):
            raise Wrong(f"{call} leaves no checkpoint, so it is no step: after a crash it is done again.")
    return f"Killed right after each of {survived} checkpoints, it did nothing a second time that was recorded."


@on_answer(
    "02",
    asks="name a moment at which a checkout made of steps gives one widget back twice",
    hint="The widget must be back on the shelf, committed, and DBOS must not have its record of that step yet. Names "
    "are made as above: the step, then `effect` or `checkpoint`, then `before` or `after`.",
)
def name_the_gap(answer: Any) -> str:
    """The learner chooses a crash point; the shelf tells whether it lies in the gap."""
    if not isinstance(answer, str):
        raise Wrong("The answer is the name of a crash point, a text such as '*/*.create_order/effect/before'.")
    try:
        crash = crash_at(answer, story="declined", app=SOLUTIONS / f"{every_call_a_step.__name__}.py")
    except PointNotMet:
        raise Wrong(
            f"A purchase that is declined does not reach {answer!r}. Names are WORKFLOW/STEP/PHASE/SIDE."
        ) from None
    recorded = set(crash.left[0].checkpoints["what"])
    before, end = (int(look.books["on the shelf"]) for look in (crash.left[0], crash.recovered))
    if end == 101:
        return f"Killed there, {before} widgets are on the shelf. Recovery does the step again: {end}, one too many."
    if "undo_reserve_inventory" in recorded:
        raise Wrong(
            f"Killed there, DBOS has recorded undo_reserve_inventory already. In the end there are {end} widgets."
        )
    raise Wrong(f"Killed there, nothing was given back yet. The shelf ends with {end} widgets.")


@on_file(
    "02",
    asks="take a widget, and give it back, in transactions with SQL of your own",
    hint="@transaction takes the place of @DBOS.step(), it does not go around it. Let one UPDATE ask whether there "
    "is a widget and take it; with RETURNING, its result has a first() row, or None.",
)
def sell_exactly_once(file: Path) -> str:
    """Killed behind the work of both transactions, and behind their records; and nothing may be taken from nothing."""
    survived = must_be_safe(
        try_points(
            file,
            "declined",
            "sold out",
            points=("*/*.reserve_inventory/*/after", "*/*.undo_reserve_inventory/*/after"),
        )
    )
    return f"Killed at {survived} places around both, it took and gave back each widget once. There is no gap any more."
