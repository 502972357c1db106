"""The exercises of notebook 02: steps, the gap behind a step's work, and transactions that have none."""

from pathlib import Path
from typing import Any

from widget_store.course.checks import SOLUTIONS, Wrong, on_answer, on_file
from widget_store.course.judging import must_be_safe, try_points
from widget_store.lab.experiment import PointNotMet, crash_at
from widget_store.words import counted

_CALLS = ("create_order", "reserve_inventory", "undo_reserve_inventory", "mark_order_paid", "cancel_order")


@on_file(
    "02",
    asks="make every call to the database a step",
    hint="Write @DBOS.step(), with its parentheses, above each of the five functions. Context().run hides a call "
    "from DBOS: a step does not need it.",
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
            raise Wrong(
                f"{call} leaves no checkpoint, so it is not a step: after a crash it runs again. Write "
                "@DBOS.step() above it."
            )
    return f"Killed right after each of {counted(survived, 'checkpoint')}, it repeated no step that had one."


@on_answer(
    "02",
    asks="name a moment at which a checkout made of steps gives one widget back twice",
    hint="The widget must be back on the shelf, committed, but DBOS's record of that step must not be committed yet. "
    "A name has the same parts as above: the step, then `effect` or `checkpoint`, then `before` or `after`.",
)
def name_the_gap(answer: Any) -> str:
    """The learner chooses a crash point; the shelf tells whether it lies in the gap."""
    if not isinstance(answer, str):
        raise Wrong("The answer must be the name of a crash point, a text such as '*/*.create_order/effect/before'.")
    try:
        crash = crash_at(answer, story="declined", app=SOLUTIONS / f"{every_call_a_step.__name__}.py")
    except PointNotMet:
        raise Wrong(
            f"A purchase that is declined does not reach {answer!r}. Names have the form WORKFLOW/STEP/PHASE/SIDE."
        ) from None
    recorded = set(crash.left[0].checkpoints["what"])
    before, end = (int(look.books["on the shelf"]) for look in (crash.left[0], crash.recovered))
    if end == 101:
        return (
            f"Killed there, {counted(before, 'widget is', 'widgets are')} on the shelf. Recovery runs the step again: "
            f"{end}, one too many."
        )
    if "undo_reserve_inventory" in recorded:
        raise Wrong(
            f"Killed there, DBOS has recorded undo_reserve_inventory already. In the end, {end} widgets are on "
            "the shelf."
        )
    raise Wrong(f"Killed there, nothing was given back yet. In the end, {end} widgets are on the shelf.")


@on_file(
    "02",
    asks="take a widget, and give it back, in transactions with SQL of your own",
    hint="@transaction replaces @DBOS.step(): do not write both. Let one UPDATE check that there is a widget, and take "
    "it. With RETURNING, the first() of its result is a row, or None.",
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
    return (
        f"Killed at {counted(survived, 'crash point')} of the two transactions, it took each widget once and gave it "
        "back once. The gap is closed."
    )
