"""The exercises of notebook 12: queues, workers that die for good, and who has which workflow."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from widget_store.course.checks import NotAttempted, Wrong, on_answer, on_file
from widget_store.course.judging import function_in, must_be_equal
from widget_store.databases.throwaway import open_databases
from widget_store.errors import StoreDidNotStart
from widget_store.lab.workers import Workers
from widget_store.plain_text import failure_in_words
from widget_store.settings import read_settings

_ATTEMPTS = 3
_PATIENCE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.02
_CUSTOMERS = ("anna", "bert", "carl", "dora")


@on_file(
    "12",
    asks="let each worker dispatch one order at a time",
    hint="register_queue has two limits: global_concurrency, for all workers together, and worker_concurrency, for "
    "each worker. Register the queue in on_launch(). In the checkout, DBOS.enqueue_workflow(queue, workflow, "
    "argument) puts the dispatch on it.",
)
def one_truck_each(file: Path) -> str:
    """Four orders, two workers: two dispatches at once, and never two on one worker.

    DBOS counts what a worker runs in that worker's memory. On a busy machine a dispatch may be taken before the one
    that was taken just now is counted: an overlap that comes of that is not there each time.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _dispatched_one_at_a_time(file)
        except _Overlap as seen:
            if attempt == _ATTEMPTS - 1:
                raise Wrong(str(seen)) from None
    raise AssertionError  # the last attempt has ended it


def _dispatched_one_at_a_time(file: Path) -> str:
    with _two_workers(file, dispatch_interval=0.08) as workers:
        for number, customer in enumerate(_CUSTOMERS):
            workers.buy(customer, at=workers.names[number % 2])
        for customer in _CUSTOMERS:
            workers.pay(customer)
        _must_be_on_a_queue_that_exists(workers)
        workers.wait_until_idle()
        spans, worker_of = _spans(workers)
    if len(spans) < len(_CUSTOMERS):
        raise Wrong(f"{len(_CUSTOMERS)} orders were paid, but the number of dispatches that ran is {len(spans)}.")
    at_once = [(one, other) for one, other in combinations(spans, 2) if _overlap(spans[one], spans[other])]
    for one, other in at_once:
        if worker_of[one] == worker_of[other]:
            raise _Overlap(
                f"{worker_of[one]} ran two dispatches at once: {other} took its first step before {one} took its last."
            )
    if not at_once:
        raise Wrong("No two dispatches ran at once, not even on different workers: one of the two trucks stood idle.")
    return "Both workers dispatched at the same time, and no worker had two dispatches at once."


class _Overlap(Exception):
    """Two dispatches ran at once on one worker."""


@on_answer(
    "12",
    asks="predict who dispatches what after a worker has died for good",
    hint="The executor id in a workflow's row names the worker that ran it last. A workflow that has ended does not "
    "run again. One that is under way does, in a living worker.",
)
def worker_2_is_gone(answer: Any) -> str:
    """One order of each worker is dispatched; one of each is not paid yet when worker-2 is killed."""
    with _two_workers(dispatch_interval=0.01) as workers:
        first, second = workers.names
        dispatched = [workers.pay(workers.buy(who, at=at)) for who, at in (("anna", first), ("bert", second))]
        workers.wait_until_dispatched(*dispatched)
        workers.buy("carl", at=first)
        workers.buy("dora", at=second)
        workers.kill(second)
        dispatched += [workers.pay(who, at=first) for who in ("carl", "dora")]
        workers.wait_until_dispatched(*dispatched)
        orders = workers.orders()
    done = orders[orders["status"] == "DISPATCHED"]["worker"]
    truth = {"DISPATCHED": len(done)} | {f"dispatched by {name}": int((done == name).sum()) for name in (first, second)}
    must_be_equal(answer, truth)
    return "Correct: worker-1 finished what worker-2 had under way. What worker-2 had finished still has its name."


@on_file(
    "12",
    asks="find out which worker has which workflow under way",
    hint="client.list_workflows() takes a status: a workflow that is under way is PENDING. Each workflow that it "
    "returns has a workflow_id and an executor_id.",
)
def who_has_what(file: Path) -> str:
    """Three checkouts wait, and a dispatch goes on. One checkout has ended well, one is cancelled, one in a queue."""
    function = function_in(file, "who_has_what")
    with _two_workers(dispatch_interval=600) as workers:  # the dispatch outlasts the check
        first, second = workers.names
        workers.pay(workers.buy("dora", at=second))
        for customer, worker in (("anna", first), ("bert", second), ("carl", first), ("emil", second)):
            workers.buy(customer, at=worker)
        workers.client.cancel_workflow("carl")
        workers.client.enqueue(
            {"workflow_name": "checkout_workflow", "queue_name": "nobody-takes-from-it", "workflow_id": "fred"}, "fred"
        )
        _wait_until_ended(workers, "dora")
        expected = {"anna": first, "bert": second, "dora.dispatch": second, "emil": second}
        statuses = {each.workflow_id: each.status for each in workers.state.all_workflows()}
        try:
            found = function(workers.client)
        except Exception as failure:
            raise Wrong(f"who_has_what raised {failure_in_words(failure)}") from failure
    _must_be_what_is_under_way(found, expected, statuses)
    return (
        "Your function found the checkouts and the dispatch that were under way, each with its worker. It found "
        "nothing that had ended or was in a queue."
    )


def _must_be_what_is_under_way(found: Any, expected: dict[str, str], statuses: Mapping[str, str]) -> None:
    if found is None:
        raise NotAttempted("who_has_what returns nothing yet.")
    if not isinstance(found, dict):
        raise Wrong(f"who_has_what returns a {type(found).__name__}, but must return a dictionary.")
    if extra := sorted(str(each) for each in set(found) - set(expected)):
        raise Wrong(_why_not(extra[0], statuses.get(extra[0])))
    if missing := sorted(set(expected) - set(found)):
        does = "it is a dispatch under way" if missing[0].endswith(".dispatch") else "it waits for its payment"
        raise Wrong(f"Your dictionary lacks {missing[0]!r}, which {expected[missing[0]]} has: {does}.")
    for workflow, executor in expected.items():
        if found[workflow] != executor:
            raise Wrong(f"For {workflow!r} you have {found[workflow]!r}, but the worker that has it is {executor!r}.")


def _why_not(key: str, status: str | None) -> str:
    """Why a key does not belong in the dictionary of what is under way."""
    if status is None:
        return f"{key!r} is not a workflow's id. In the dictionary, the id is the key, and the executor is the value."
    if status == "ENQUEUED":
        return f"Your dictionary has {key!r}, which is {status}: it is in a queue, and no worker has it yet."
    return f"Your dictionary has {key!r}, which has ended, as {status}: nobody has it any more."


def _wait_until_ended(workers: Workers, key: str) -> None:
    """Wait for the end of a checkout that is paid: it has answered the customer a moment before."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while workers.client.list_workflows(workflow_ids=[key], status="PENDING", load_input=False):
        if time.monotonic() > deadline:
            raise StoreDidNotStart(f"A checkout did not end within {_PATIENCE_SECONDS:g} s. Run the check again.")
        time.sleep(_LOOK_AGAIN_SECONDS)


@contextmanager
def _two_workers(app: Path | None = None, *, dispatch_interval: float) -> Iterator[Workers]:
    """Workers on a database of their own: the learner's are not disturbed."""
    with (
        open_databases(read_settings()) as databases,
        databases.template() as database,
        Workers(2, app, database=database, dispatch_interval=dispatch_interval, payment_timeout=600) as workers,
    ):
        yield workers


def _must_be_on_a_queue_that_exists(workers: Workers) -> None:
    known = set(workers.state.query("SELECT name FROM dbos.queues")["name"])  # list_queues warns in a notebook
    for workflow in workers.client.list_workflows(status="ENQUEUED", load_input=False):
        if workflow.queue_name not in known:
            raise Wrong(f"{workflow.workflow_id} is on a queue {workflow.queue_name!r}, which nobody has registered.")


def _spans(workers: Workers) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Of each dispatch, when it took its first step and its last; and who ran it."""
    spans = {str(key): (int(first), int(last)) for key, first, last in workers.dispatches().itertuples()}
    worker_of = {each.workflow_id: each.executor_id or "" for each in workers.state.all_workflows()}
    return spans, worker_of


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
