"""The exercises of notebook 04: predict what one crash leaves, and two; find a pair of crash points."""

from typing import Any

from widget_store.course.checks import Wrong, on_answer
from widget_store.course.judging import must_be_equal
from widget_store.lab.experiment import Crash, Look, PointNotMet, crash_at
from widget_store.words import counted

_BEGINS = "*/*.create_order/effect/before"


@on_answer(
    "04",
    asks="predict what is left when a declined widget has just been given back",
    hint="The crash is right after the commit of undo_reserve_inventory's own work. Which steps have a checkpoint by "
    "then? And after recovery, which step finds that its work is already done?",
)
def left_by_a_decline(answer: Any) -> str:
    """The store dies right after the widget was put back on the shelf."""
    from widget_store.lab.crash_lab import first_step, order_in, shelf_in

    crash = crash_at("*/*.undo_reserve_inventory/effect/after", story="declined")
    left = crash.left[0]
    truth = {
        "order": order_in(left),
        "widgets on the shelf": int(shelf_in(left)),
        "steps with a checkpoint": len(left.checkpoints),
        "the first step to run after it": first_step(crash.lives[1]),
    }
    must_be_equal(answer, truth, witness="it was")
    return (
        "Correct. Right after the crash, there is a PENDING order and a full shelf: one widget too many. Recovery did "
        "not put it back a second time. It only recorded the step, and cancelled the order."
    )


@on_answer(
    "04",
    asks="predict how often create_order begins, and how many orders it makes, when it is killed twice",
    hint="Each process runs create_order, and dies right before the commit. How many processes are there? And what "
    "does a database keep of a transaction that was not committed?",
)
def begun_and_done(answer: Any) -> str:
    """The store is killed right before create_order commits; and so is its recovery."""
    crash = crash_at(_BEGINS, _BEGINS)
    truth = {
        "create_order began": sum(_began(life) for life in crash.lives),
        "orders right after the second crash": len(crash.left[1].orders),
        "orders in the end": len(crash.recovered.orders),
    }
    must_be_equal(answer, truth, witness="it was")
    return (
        "Correct: create_order began in each of three processes, and made one order. What is not committed leaves no "
        "trace."
    )


def _began(life: tuple[str, ...]) -> int:
    """How often a process came to the end of create_order's work, where it is about to be committed."""
    return sum(point.endswith(".create_order/effect/before") for point in life)


@on_answer(
    "04",
    asks="name two crash points: no widget is reserved at the first, one is at the second, and nobody was told",
    hint="The process that recovers goes on where the first one stopped. Let the first one die before the work of "
    "reserve_inventory is committed. Let the second one die between that commit and the record of `set_event "
    "payment_id`.",
)
def reserved_but_unanswered(answer: Any) -> str:
    """The learner chooses where the store is killed, and where its recovery is; the database says what each left."""
    crash = _killed_at(answer)
    first, second = crash.left[:2]
    if _on_the_shelf(first) != 100:
        raise Wrong(
            "After the first crash a widget was reserved already: 99 were on the shelf. Choose an earlier crash point."
        )
    if _on_the_shelf(second) == 100:
        raise Wrong(
            "After the second crash no widget was reserved yet: 100 were on the shelf. Choose a later crash point."
        )
    if "set_event payment_id" in set(second.checkpoints["what"]):
        raise Wrong(
            "After the second crash the payment id was published already: that is the customer's answer. Choose an "
            "earlier crash point."
        )
    return (
        "After the first crash, 100 widgets were on the shelf. After the second, 99 were, and no payment id was "
        f"published. In the end the books balance, with {counted(len(crash.recovered.orders), 'order')}."
    )


def _killed_at(answer: Any) -> Crash:
    is_a_pair = isinstance(answer, tuple | list) and len(answer) == 2 and all(isinstance(each, str) for each in answer)
    if not is_a_pair:
        raise Wrong(
            "The answer must be a pair of texts, such as ('*/*.create_order/effect/before', '*/*.recv/*/after')."
        )
    try:
        return crash_at(*answer)
    except PointNotMet as nobody:
        if answer[0] != answer[1] and f"reach {answer[0]}." in str(nobody):
            raise Wrong(f"A purchase that is paid does not reach the first crash point, {answer[0]!r}.") from None
        raise Wrong(
            f"The process that recovers does not reach {answer[1]!r}: a step that is done does not run again. "
            "(Or no crash point has this name.)"
        ) from None


def _on_the_shelf(look: Look) -> int:
    return int(look.books["on the shelf"])
