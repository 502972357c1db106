"""The store's checkout, whose workflows keep a diary: who ran what, and from when to when.

It lies in the file that the environment variable DIARY names, a line for each begin, step and end. A process that is
killed writes no end. But who has written a line was alive then: so it can be told whether two ran one workflow at once.
"""

import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID

from widget_store import transactions
from widget_store.schema import DISPATCH_STEPS
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, pace

DIARY = Path(os.environ["DIARY"])


def note(what: str, workflow: str) -> None:
    line = {"what": what, "workflow": workflow, "pid": os.getpid(), "at": time.monotonic()}
    with DIARY.open("ab", buffering=0) as diary:
        diary.write(json.dumps(line).encode() + b"\n")  # in one piece, whoever else writes


@contextlib.contextmanager
def noted() -> Iterator[None]:
    workflow = str(DBOS.workflow_id)
    note("begin", workflow)
    try:
        yield
    finally:
        note("end", workflow)


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    with noted():
        order_id = transactions.create_order()
        note("step", key)
        if not transactions.reserve_inventory():
            transactions.cancel_order(order_id)
            DBOS.set_event(PAYMENT_ID, None)
            DBOS.set_event(ORDER_ID, str(order_id))
            return key
        DBOS.set_event(PAYMENT_ID, key)
        note("step", key)
        if DBOS.recv(PAYMENT_STATUS, timeout_seconds=pace.payment_timeout) == "paid":
            transactions.mark_order_paid(order_id)
            with SetWorkflowID(f"{key}.dispatch"):
                DBOS.start_workflow(dispatch_order_workflow, order_id)
        else:
            transactions.undo_reserve_inventory()
            transactions.cancel_order(order_id)
        note("step", key)
        DBOS.set_event(ORDER_ID, str(order_id))
        return key


@DBOS.workflow()
def dispatch_order_workflow(order_id: int) -> None:
    with noted():
        for _ in range(DISPATCH_STEPS):
            DBOS.sleep(pace.dispatch_interval)
            transactions.update_order_progress(order_id)
            note("step", str(DBOS.workflow_id))


def ran_twice_at_once(diary: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A sentence for each workflow that began in one process while it still ran in another, or in the same."""
    last_sign_of: dict[int, float] = {}
    of_workflow: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in sorted(diary, key=lambda line: line["at"]):
        last_sign_of[line["pid"]] = line["at"]
        of_workflow[line["workflow"]].append(line)
    for workflow, lines in of_workflow.items():
        running: dict[int, float] = {}  # process, and since when
        for line in lines:
            if line["what"] == "end":
                running.pop(line["pid"], None)
            if line["what"] == "begin":
                for pid in running:
                    if last_sign_of[pid] > line["at"] or pid == line["pid"]:
                        yield f"{workflow} began in process {line['pid']} while process {pid} ran it, too"
                running[line["pid"]] = line["at"]


def nothing_ran_twice_at_once(_connection: object) -> Iterator[str]:
    """The rule for the crash test."""
    yield from ran_twice_at_once(map(json.loads, DIARY.read_text(encoding="utf-8").splitlines()))


INVARIANTS = [nothing_ran_twice_at_once]
