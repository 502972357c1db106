"""The exercises of notebook 07: ask the database who waits, predict what a cancel leaves, fix what was cancelled."""

import contextlib
import ctypes
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient, SetWorkflowID
from dbos import error as dbos_error

from widget_store.course.checks import Wrong, on_answer, on_file
from widget_store.course.judging import function_in, in_a_line, must_be_equal
from widget_store.crashtest.results import Result, Verdict
from widget_store.databases import Database
from widget_store.lab.crash_test import single_runs
from widget_store.lab.scenarios import CANCELLED, DISPATCHED, Customer, Scenario
from widget_store.lab.state import State
from widget_store.plain_text import failure_in_words
from widget_store.workflows import PAYMENT_STATUS

_TIME_LIMIT_SECONDS = 20.0
_FIX_WITHIN_SECONDS = 8.0
_LAST_WORDS_SECONDS = 2.0
_SURELY_RUNNING_SECONDS = 3600.0
_SECOND_PAYMENT = "checkout_workflow/6.mark_order_paid/effect/before#2"
"""Right before the second order that is paid is marked as paid."""


def _eight_customers(customer: Customer) -> None:
    customer.buy("hanna")  # the shelf is empty
    customer.wait_for_end()
    customer.restock()
    customer.buy("dora")
    customer.pay("dora", "failed")
    customer.wait_for_end()
    customer.buy("carl")
    customer.pay("carl")  # and his dispatch goes on
    for key in ("anna", "bert", "emil", "fritz", "gina"):
        customer.buy(key)
    customer.pay("emil")  # the store dies of this one


_EIGHT_CUSTOMERS = Scenario("eight customers", _eight_customers, {}, stock=0, dispatch_interval=_SURELY_RUNNING_SECONDS)
_WHY_NOT = {
    "emil": "emil's payment has arrived: DBOS.recv has a checkpoint",
    "fritz": "fritz's payment has arrived: nobody has read it yet, but it is in dbos.notifications",
    "gina": "gina's checkout was cancelled",
    "hanna": "hanna's checkout has ended, because the shelf was empty",
    "carl": "carl's payment has arrived",
    "dora": "dora's checkout has ended, because she declined",
    "carl.dispatch": "carl.dispatch is a dispatch, not a checkout",
}


class _Asked(Exception):
    """The database was asked all there is to ask: the scenario need not go on."""


@on_answer(
    "07",
    asks="write a query that finds the checkouts that wait for their payment",
    hint="Such a checkout is a row of dbos.workflow_status with the name checkout_workflow and the status PENDING. "
    "Two other rows must not exist for its id. One is in dbos.operation_outputs with the function_name DBOS.recv: a "
    "payment that was read. The other is in dbos.notifications, as destination_uuid: a payment that was not read "
    "yet.",
)
def who_waits_for_a_payment(answer: Any) -> str:
    """The learner's query is asked of a database with eight customers, each of whom another mistake would find."""
    if not isinstance(answer, str):
        raise Wrong("The answer must be a query, as a text.")
    found: set[str] = set()

    def ask(state: State) -> None:
        state.client.send("fritz", "paid", PAYMENT_STATUS)  # as from another worker: this one's is dead
        state.client.cancel_workflow("gina")
        try:
            rows = state.query(answer)
        except sa.exc.SQLAlchemyError as refusal:
            raise Wrong(f"The database refuses your query: {str(refusal).splitlines()[0]}") from None
        found.update(map(str, rows.iloc[:, 0]))
        raise _Asked

    with contextlib.suppress(_Asked):
        _run_with_an_operator(_EIGHT_CUSTOMERS, _SECOND_PAYMENT, ask)
    mistakes = [words for key, words in _WHY_NOT.items() if key in found]
    if missed := sorted({"anna", "bert"} - found):
        mistakes.append(f"{' and '.join(missed)} not found, but nobody has reported their payment")
    if mistakes or found != {"anna", "bert"}:
        found_in_words = ", ".join(sorted(found)) or "nothing"
        raise Wrong(f"It found {found_in_words}, but anna and bert are the ones who wait: {'; '.join(mistakes)}.")
    return (
        "It found anna and bert, who wait. It did not find the checkouts that were paid, declined, cancelled or sold "
        "out, or the dispatch."
    )


def _three_customers(customer: Customer) -> None:
    for key in ("anna", "bert", "carl"):
        customer.buy(key)
    customer.pay("anna", "failed")  # the store dies of this one
    customer.pay("carl-again", "failed")


@on_answer(
    "07",
    asks="predict what a decline, a cancel and a fork leave",
    hint="When a customer declines, the checkout gives the widget back and cancels the order. cancel_workflow stops a "
    "workflow where it is: none of its code runs. A fork from step 1 is another checkout, with its own order.",
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
        "Correct. Anna's checkout and the fork of Carl's ended, and gave their widgets back. Bert's checkout and "
        "Carl's own were stopped: two orders stay PENDING, and two widgets are held for nobody."
    )


_CUSTOMERS = ("carl", "dora", "anna", "bert")


def _cancelled_by_mistake(keys: dict[str, str]) -> Scenario:
    """Four customers, with keys that nobody can know beforehand."""

    def story(customer: Customer) -> None:
        for key in keys.values():
            customer.buy(key)
        customer.expect(customer.pay(keys["carl"]), 200, "paying for carl")
        customer.expect(customer.pay(keys["dora"], "failed"), 200, "declining for dora")
        customer.expect(customer.pay(keys["anna"]), 200, "paying for anna")  # the store dies of this one
        customer.expect(customer.pay(keys["bert"]), 200, "paying for bert")

    return Scenario("cancelled by mistake", story, {DISPATCHED: 3, CANCELLED: 1})


@on_file(
    "07",
    asks="write fix(client): every checkout that was cancelled by mistake goes on",
    hint="client.list_workflows(status=…) finds workflows; each has a workflow_id. Which of resume, fork and rewind "
    "goes on with the same workflow, from its last checkpoint?",
)
def fix_what_was_cancelled(file: Path) -> str:
    """While the store is dead, two checkouts are cancelled and fixed; then the store starts and goes on."""
    fix = function_in(file, "fix")
    keys = {name: f"key-{secrets.token_hex(4)}" for name in _CUSTOMERS}

    def cancel_and_fix(state: State) -> None:
        state.client.cancel_workflows([keys["anna"], keys["bert"]])
        before = _statuses(state.client)
        _call_within_time(fix, state.client)
        _must_have_been_resumed(keys, before, _statuses(state.client))
        if not _has_read_its_payment(state.client, keys["anna"]):
            raise Wrong(
                "fix has deleted the checkpoint of a payment that had arrived, and the payment with it. If the "
                "customer does not pay again, the order is cancelled. Which of the three keeps all checkpoints?"
            )

    result = _run_with_an_operator(_cancelled_by_mistake(keys), _SECOND_PAYMENT, cancel_and_fix)
    if result.verdict != Verdict.SAFE:
        raise Wrong(in_a_line(result))
    return (
        "Two checkouts were cancelled, one of them with its payment received. After fix and a start, both orders were "
        "dispatched, under the same keys, and no other order changed."
    )


def _call_within_time(fix: Callable[..., Any], client: DBOSClient) -> None:
    """Call the learner's function in a thread, which is ended when it takes too long.

    Raises:
        Wrong: When it raises, or does not finish: it may wait for a store that is dead.
    """
    raised: list[Exception] = []

    def call() -> None:
        try:
            fix(client)
        except Exception as failure:  # noqa: BLE001 - whatever it was, it is the learner's
            raised.append(failure)
        except SystemExit:
            pass  # it took too long: see below

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_FIX_WITHIN_SECONDS)
    if thread.is_alive():
        # Otherwise it would ask a database that is gone, as long as the kernel lives.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        thread.join(_LAST_WORDS_SECONDS)
        raise Wrong(
            f"fix did not finish within {_FIX_WITHIN_SECONDS:g} s. The store is dead while fix runs: no workflow can "
            "give a result, so do not wait for one."
        )
    for failure in raised:
        unknown = isinstance(failure, dbos_error.DBOSNonExistentWorkflowError)
        why = " You do not know their ids: client.list_workflows finds them." if unknown else ""
        raise Wrong(f"fix raised {failure_in_words(failure)}.{why}")


def _has_read_its_payment(client: DBOSClient, key: str) -> bool:
    return any(step["function_name"] == "DBOS.recv" for step in client.list_workflow_steps(key))


def _must_have_been_resumed(keys: dict[str, str], before: dict[str, str], after: dict[str, str]) -> None:
    if len(after) > len(before):
        raise Wrong(
            f"There are {len(after)} workflows now, but there were {len(before)}. A fork is another workflow: the "
            "customers' keys do not name it, and it runs steps again, with their effects."
        )
    for name in ("carl", "dora"):
        if (now := after[keys[name]]) != before[keys[name]]:
            raise Wrong(f"{name}'s checkout had ended, but is {now} now: it will repeat what it did. Leave it alone.")
    if stopped := [name for name in ("anna", "bert") if after[keys[name]] == "CANCELLED"]:
        raise Wrong(f"After fix, still CANCELLED: the checkout of {' and of '.join(stopped)}.")


def _statuses(client: DBOSClient) -> dict[str, str]:
    return {workflow.workflow_id: workflow.status for workflow in client.list_workflows()}


# --- a store that dies, and somebody who works on its database before it starts again


def _run_with_an_operator(
    scenario: Scenario,
    point: str,
    operate: Callable[[State], None],
    look: Callable[[State], None] = lambda _state: None,
) -> Result:
    """Play a scenario, in which the store is killed once.

    Args:
        scenario: What the customers do.
        point: Where it is killed.
        operate: Called while it is dead.
        look: Called in the end.
    """
    to_come = [operate, look]

    def at_a_death_or_the_end(database: Database) -> None:
        with _state_of(database) as state:
            to_come.pop(0)(state)

    with single_runs(time_limit=_TIME_LIMIT_SECONDS) as runs:
        return runs.play(scenario, (point,), at_a_death_or_the_end)


@contextlib.contextmanager
def _state_of(database: Database) -> Iterator[State]:
    state = State(database)
    try:
        yield state
    finally:
        state.close()
