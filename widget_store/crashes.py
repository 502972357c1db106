"""Where and how a store process can be made to die.

Between two commits nothing that matters happens: what a crash leaves behind is decided by the last commit before it. So
the *crash points* are the instants right before and right after the commits made on behalf of a workflow's steps, and
they are named after the step and the side: `create_order:before`, `create_order:between`, `create_order:after`.

    before    the step's work is done, but not committed: it will be as if it had never run
    between   a transaction's work is committed with its own checkpoint; DBOS's record of the step is not yet
    after     DBOS's record of the step is committed too: it will not run again

A step that isn't a transaction (an event, a message, the start of a workflow) has one commit, so no `between`.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import event

from widget_store.exactly_once import TRANSACTION

SIDES = {
    "before": "before its work is committed",
    "between": "its work committed, DBOS's record of it not",
    "after": "after DBOS has recorded it",
}
STEPS = {  # in the order in which a checkout meets them; whether each is a transaction
    "create_order": True,
    "reserve_inventory": True,
    "set_event payment_id": False,
    "recv": False,
    "mark_order_paid": True,
    "dispatch_order_workflow": False,
    "set_event order_id": False,
    "update_order_progress": True,
    "undo_reserve_inventory": True,
    "cancel_order": True,
}
_NOTE = "widget_store.commit"


def crash_points() -> list[str]:
    """The names of all crash points of the checkout and its dispatch, in the order in which a checkout meets them."""
    return [
        f"{step}:{side}"
        for step, is_transaction in STEPS.items()
        for side in SIDES
        if side != "between" or is_transaction
    ]


def die() -> None:
    """End this process at once, as a power cut would: no handler runs, nothing is flushed, nobody is told."""
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)  # Windows has no SIGKILL; this skips every handler too


@dataclass
class _Commit:
    """What the transaction that is open on a connection is about to commit."""

    step: str
    of_transaction: bool
    done: bool = False

    def point(self) -> str:
        if self.of_transaction:
            return f"{self.step}:{'between' if self.done else 'before'}"
        if STEPS.get(self.step):  # the record of a transaction, whose work has its own commit before this one
            return f"{self.step}:{'after' if self.done else 'between'}"
        return f"{self.step}:{'after' if self.done else 'before'}"


class CrashPoints:
    """Watches the commits of a process, and ends it at the point that is armed. Inert until one is.

    Attributes:
        armed: The crash point at which the process will die, or None. A restarted process starts with None.
    """

    def __init__(self) -> None:
        self.armed: str | None = None

    def arm(self, point: str) -> None:
        """Die at this crash point, the next time a workflow of this process reaches it.

        Raises:
            ValueError: When there is no such point.
        """
        if point not in crash_points():
            raise ValueError(f"There is no crash point {point!r}. There are: {', '.join(crash_points())}.")
        self.armed = point

    def watch(self, transactions: sa.Engine, system: sa.Engine) -> None:
        """Follow the commits of the store's transactions, and those of DBOS's system database."""
        event.listen(system, "after_cursor_execute", self._note_record)
        for engine in (transactions, system):
            event.listen(engine, "commit", self._before_commit)
            event.listen(engine, "rollback", self._forget)
            event.listen(engine, "checkin", self._after_commit)

    def _note_record(self, connection: sa.Connection, _cursor: Any, statement: str, *execution: Any) -> None:
        """Remember which step's record is being written; DBOS writes an event and its record in one commit."""
        if self.armed is None or not statement.startswith("INSERT INTO"):
            return
        table = statement.split("(", 1)[0]
        if "workflow_events " in table:
            connection.info[_NOTE] = _Commit(f"set_event {_values(execution)['key']}", of_transaction=False)
        elif "operation_outputs" in table and _NOTE not in connection.info:
            name = str(_values(execution)["function_name"]).removeprefix("DBOS.")
            connection.info[_NOTE] = _Commit(name, of_transaction=False)

    def _before_commit(self, connection: sa.Connection) -> None:
        if name := connection.info.pop(TRANSACTION, None):
            connection.info[_NOTE] = _Commit(name, of_transaction=True)
        if commit := connection.info.get(_NOTE):
            self._die_if_armed(commit)
            commit.done = True

    def _after_commit(self, _dbapi_connection: Any, record: Any) -> None:
        commit = record.info.pop(_NOTE, None)
        if commit is not None and commit.done:
            self._die_if_armed(commit)

    def _forget(self, connection: sa.Connection) -> None:
        if not getattr(connection.info.get(_NOTE), "done", False):
            connection.info.pop(_NOTE, None)
        connection.info.pop(TRANSACTION, None)

    def _die_if_armed(self, commit: _Commit) -> None:
        if commit.point() == self.armed:
            die()


def _values(execution: tuple[Any, ...]) -> Mapping[str, Any]:
    """The named values of a statement: DBOS runs its statements through SQLAlchemy, or ready-made with a dictionary."""
    parameters, context, _executemany = execution
    if isinstance(parameters, dict):
        return parameters
    return cast("Mapping[str, Any]", context.compiled_parameters[0])
