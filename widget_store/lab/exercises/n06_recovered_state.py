"""The exercises of notebook 06: ask the database who waits, predict what a cancel leaves, mend what was cancelled."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient, SetWorkflowID

from widget_store.database import Database
from widget_store.lab.checks import Wrong, on_answer, on_file
from widget_store.lab.crash_run import Bench, Result, Verdict, run
from widget_store.lab.databases import open_databases
from widget_store.lab.judging import function_in, in_a_line, must_be_equal
from widget_store.lab.scenarios import CANCELLED, DISPATCHED, Customer, Scenario
from widget_store.lab.state import State
from widget_store.processes import warm_processes
from widget_store.settings import read_settings

_TIME_LIMIT_SECONDS = 20.0
_SECOND_PAYMENT = "checkout_workflow/6.mark_order_paid/effect/before#2"
"""Right before the second order that is paid is marked as paid."""


def _five_customers(customer: Customer) -> None:
    for key in ("carl", "dora", "anna", "bert", "emil"):
        customer.buy(key)
    customer.pay("carl")
    customer.pay("dora", "failed")
    customer.pay("emil")  # the store dies of this one
    for key in ("anna", "bert"):
        customer.pay(key, "failed")


@on_answer(
    "06",
    asks="write a query that finds the checkouts that wait for their payment",
    hint="Such a checkout is a row of dbos.workflow_status with the name checkout_workflow and the status PENDING, "
    "whose id has no row in dbos.operation_outputs with the function_name DBOS.recv.",
)
def who_waits_for_a_payment(answer: Any) -> str:
    """The learner's query is asked of a database with five checkouts, none of which is where another is."""
    if not isinstance(answer, str):
        raise Wrong("The answer is a query, as a text.")
    found: set[str] = set()

    def ask(state: State) -> None:
        try:
            rows = state.query(answer)
        except sa.exc.SQLAlchemyError as refusal:
            raise Wrong(f"The database refuses it: {str(refusal).splitlines()[0]}") from None
        found.update(map(str, rows.iloc[:, 0]))

    _run_with_an_operator(Scenario("five customers", _five_customers, {}), _SECOND_PAYMENT, ask)
    what_is_theirs = {
        "emil": "emil's payment has arrived: its wait has a checkpoint",
        "carl": "carl's checkout has ended, as it was paid",
        "dora": "dora's checkout has ended, as it was declined",
        "carl.dispatch": "carl.dispatch is a dispatch, and no checkout",
    }
    mistakes = [words for key, words in what_is_theirs.items() if key in found]
    if missed := sorted({"anna", "bert"} - found):
        mistakes.append(f"{' and '.join(missed)} not found, whose payment nobody has reported")
    if mistakes or found != {"anna", "bert"}:
        found_in_words = ", ".join(sorted(found)) or "nothing"
        raise Wrong(f"It found {found_in_words}, and anna and bert are the ones who wait: {'; '.join(mistakes)}.")
    return "It found anna and bert, who wait, and none of those who have paid, were declined, or are a dispatch."


def _three_customers(customer: Customer) -> None:
    for key in ("anna", "bert", "carl"):
        customer.buy(key)
    customer.pay("anna", "failed")  # the store dies of this one
    customer.pay("carl-again", "failed")


@on_answer(
    "06",
    asks="predict what a decline, a cancel and a fork leave",
    hint="Declining makes the checkout give the widget back and cancel the order. cancel_workflow stops a workflow "
    "where it is and runs none of its code. A fork from step 1 is another checkout, with an order of its own.",
)
def cancel_is_not_undo(answer: Any) -> str:
    """One checkout is declined, one is cancelled, and one is cancelled and forked; the fork is declined."""
    seen: dict[str, int] = {}

    def cancel_and_fork(state: State) -> None:
        state.client.cancel_workflows(["bert", "carl"])
        with SetWorkflowID("carl-again"):
            state.client.fork_workflow("carl", 1)

    def look(state: State) -> None:
        statuses = list(state.orders()["status"])
        seen.update({status: statuses.count(status) for status in ("PENDING", "CANCELLED")})
        seen["on the shelf"] = int(state.books()["on the shelf"])

    point = "checkout_workflow/6.undo_reserve_inventory/effect/before"
    _run_with_an_operator(Scenario("three customers", _three_customers, {}), point, cancel_and_fork, look)
    must_be_equal(answer, seen)
    return (
        "So it is. Anna's checkout and the fork of Carl's came to their ends, and gave their widgets back. Bert's and "
        "Carl's own were stopped: two orders stay PENDING, and two widgets are held for nobody."
    )


def _cancelled_by_mistake(customer: Customer) -> None:
    for key in ("carl", "dora", "anna", "bert"):
        customer.buy(key)
    customer.expect(customer.pay("carl"), 200, "paying for carl")
    customer.expect(customer.pay("dora", "failed"), 200, "declining for dora")
    customer.expect(customer.pay("anna"), 200, "paying for anna")  # the store dies of this one
    customer.expect(customer.pay("bert"), 200, "paying for bert")


_CANCELLED_BY_MISTAKE = Scenario("cancelled by mistake", _cancelled_by_mistake, {DISPATCHED: 3, CANCELLED: 1})


@on_file(
    "06",
    asks="write mend(client): every checkout that was cancelled by mistake goes on",
    hint="client.list_workflows(status=…) finds workflows; each has a workflow_id. Which of resume, fork and rewind "
    "goes on with the same workflow, from its last checkpoint?",
)
def mend_what_was_cancelled(file: Path) -> str:
    """While the store is dead, two checkouts are cancelled and mended; then the store starts, and the story goes on."""
    mend = function_in(file, "mend")

    def cancel_and_mend(state: State) -> None:
        state.client.cancel_workflows(["anna", "bert"])
        before = _statuses(state.client)
        try:
            mend(state.client)
        except Exception as failure:  # noqa: BLE001 - whatever it was, it is the learner's
            raise Wrong(f"mend raised {type(failure).__name__}: {failure}") from None
        _must_have_been_resumed(before, _statuses(state.client))

    result = _run_with_an_operator(_CANCELLED_BY_MISTAKE, _SECOND_PAYMENT, cancel_and_mend)
    if result.verdict != Verdict.SAFE:
        raise Wrong(in_a_line(result))
    return (
        "Two checkouts were cancelled, one of them with its payment in hand. After mend and a start both orders were "
        "dispatched, under the same keys, and no other order changed."
    )


def _must_have_been_resumed(before: dict[str, str], after: dict[str, str]) -> None:
    if len(after) > len(before):
        raise Wrong(
            f"There are {len(after)} workflows now, and there were {len(before)}. A fork is another workflow: the "
            "customers' keys do not name it, and the steps that it runs again have their effects again."
        )
    for key in ("carl", "dora"):
        if after[key] != before[key]:
            raise Wrong(f"{key}'s checkout had ended, and is {after[key]} now: what it did will be done once more.")
    stopped = [key for key in ("anna", "bert") if after[key] == "CANCELLED"]
    if stopped:
        raise Wrong(f"After mend, the checkout of {' and '.join(stopped)} is still CANCELLED.")


def _statuses(client: DBOSClient) -> dict[str, str]:
    return {workflow.workflow_id: workflow.status for workflow in client.list_workflows()}


# --- a store that dies, and somebody who works on its database before it starts again


def _run_with_an_operator(
    scenario: Scenario,
    point: str,
    operate: Callable[[State], None],
    look: Callable[[State], None] = lambda _state: None,
) -> Result:
    """Play a story, in which the store is killed once.

    Args:
        scenario: The story.
        point: Where it is killed.
        operate: Called while it is dead.
        look: Called in the end.
    """
    to_come = [operate, look]

    def at_a_death_or_the_end(database: Database) -> None:
        with _state_of(database) as state:
            to_come.pop(0)(state)

    with open_databases(read_settings()) as databases:
        bench = Bench(warm_processes("widget_store.lab.crash_run"), databases, time_limit=_TIME_LIMIT_SECONDS)
        bench.prepare()
        return run(bench, scenario, (point,), at_a_death_or_the_end)


@contextlib.contextmanager
def _state_of(database: Database) -> Iterator[State]:
    state = State(database)
    try:
        yield state
    finally:
        state.close()
