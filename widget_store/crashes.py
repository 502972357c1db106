"""Where and how a store process can be made to die.

What a crash leaves behind is what was committed before it. So the *crash points* are the instants right before and
right after each commit that is made on behalf of a workflow or an HTTP call, on every engine of the process. DBOS's own
background work has none: it changes no workflow. A crash point has a name that is the same in every run:

    WORKFLOW/STEP/PHASE/SIDE            checkout_workflow/2.reserve_inventory/effect/after

    WORKFLOW  the workflow, by its function's name; `http` for what an HTTP call commits itself; `recovery` for the
              taking up of a dead process's workflows
    STEP      the step, by DBOS's number for it and its name; or `start`, `end`, `send` and the like
    PHASE     body        the inside of a step that is not a transaction
              effect      the step's own SQL (a transaction's: with the receipt that makes it exactly once)
              checkpoint  DBOS's record of the step: from here on, it does not run again
              status      DBOS's record of the workflow: started, ended, queued
              message     a message to a workflow
              cleanup     what is thrown away at the end
    SIDE      before, or after

A transaction's body needs no points of its own: before its effect is committed, all of it has run and nothing is kept.
What is reached again in one process has `#2`, `#3` and so on behind its name.
"""

import contextlib
import inspect
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy import event

from widget_store.exactly_once import TRANSACTION
from widget_store.system.windows import AS_ON_WINDOWS

_TABLE = r"(?:\"?\w+\"?\.)?\"?(\w+)\"?"
_WRITE = re.compile(
    rf"\b(?:(INSERT|REPLACE|MERGE)(?:\s+OR\s+\w+)?\s+INTO\s+{_TABLE}"
    rf"|(TRUNCATE)(?:\s+TABLE)?\s+{_TABLE}"
    rf"|(DELETE)\s+FROM\s+{_TABLE}"
    rf"|(UPDATE)\s+{_TABLE}(?:\s+(?:AS\s+)?\w+)?\s+SET\b)",
    re.IGNORECASE,
)
_UNCOMMITTED = "widget_store.uncommitted"
_COMMITTED = "widget_store.committed"
_BECOMES = {"PENDING": "dequeue", "ENQUEUED": "requeue", "SUCCESS": "end", "ERROR": "fail", "CANCELLED": "cancel"}

_step_body: ContextVar[str] = ContextVar("_step_body")
"""The name of the step in whose body this code runs, for steps that are not transactions."""


STEPS = {  # of the store's own checkout, in the order in which it meets them; whether each has an effect of its own
    "checkout_workflow/*.create_order": True,
    "checkout_workflow/*.reserve_inventory": True,
    "checkout_workflow/*.set_event payment_id": False,
    "checkout_workflow/*.recv": False,
    "checkout_workflow/*.mark_order_paid": True,
    "checkout_workflow/*.dispatch_order_workflow": False,
    "checkout_workflow/*.set_event order_id": False,
    "dispatch_order_workflow/*.sleep": False,
    "dispatch_order_workflow/*.update_order_progress": True,
    "checkout_workflow/*.undo_reserve_inventory": True,
    "checkout_workflow/*.cancel_order": True,
}


def fits(point: str, pattern: str) -> bool:
    """Whether a crash point is meant by a pattern. It is by its own name, also where that has a `[` or a `*` in it."""
    return point == pattern or fnmatchcase(point, pattern)


def checkout_points() -> dict[str, str]:
    """The crash points worth choosing by hand: before, within and after each step of the store's checkout.

    Returns:
        For each point, as a pattern, what it is in words.
    """
    points = {}
    for step, has_effect in STEPS.items():
        name = step.partition(".")[2]
        if has_effect:
            points[f"{step}/effect/before"] = f"in {name}: before its work is committed"
            points[f"{step}/effect/after"] = f"in {name}: its work committed, DBOS's record of it not"
        else:
            points[f"{step}/checkpoint/before"] = f"in {name}: before DBOS has recorded it"
        points[f"{step}/checkpoint/after"] = f"in {name}: after DBOS has recorded it"
    return points


def die() -> None:
    """End this process at once, as a power cut would: no handler runs, nothing is flushed, nobody is told."""
    if sys.platform != "win32" and not AS_ON_WINDOWS:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)  # Windows has no SIGKILL; this skips every handler too


@dataclass(frozen=True)
class _Write:
    """One statement that changes a table."""

    verb: str
    table: str
    values: Mapping[str, Any]

    def workflow_ids(self) -> list[str]:
        return [str(value) for name, value in self.values.items() if name.startswith(("workflow_uuid", "wf_id"))]


class _Names:
    """Gives a commit its name, by what it writes."""

    def __init__(self, system: sa.Engine) -> None:
        self._system = system
        # Asked in the midst of a commit: with a connection of the pool in hand, nobody may wait there for a second one.
        self._beside = sa.create_engine(system.url, poolclass=sa.NullPool)
        self._workflows: dict[str, str] = {}

    def of(self, writes: list[_Write], connection: sa.Connection) -> str | None:
        """The name of the commit that makes these writes last; None when it concerns no workflow and no HTTP call."""
        if not writes:
            return None
        transaction = connection.info.pop(TRANSACTION, None)
        inserts = {write.table: write.values for write in writes if write.verb == "INSERT"}
        name = self._of_step(inserts, transaction) or self._of_call(inserts) or self._of_change(writes)
        if name is None and connection.engine.pool is not self._system.pool:
            name = self._of_own_sql(transaction or writes[0].table)
        return name

    def of_body(self) -> str:
        """The name of the step body in which this code runs."""
        return f"{self._workflow(DBOS.workflow_id)}/{DBOS.step_id}.{_step_body.get()}/body"

    def _of_step(self, inserts: dict[str, Mapping[str, Any]], transaction: str | None) -> str | None:
        if record := inserts.get("operation_outputs"):
            name = str(record["function_name"]).removeprefix("DBOS.")
            if published := inserts.get("workflow_events"):
                name = f"set_event {published['key']}"
            return f"{self._workflow(record['workflow_uuid'])}/{record['function_id']}.{name}/checkpoint"
        if record := inserts.get("datasource_outputs"):
            return f"{self._workflow(record['workflow_id'])}/{record['step_id']}.{transaction}/effect"
        if (published := inserts.get("workflow_events")) and DBOS.step_id is not None:  # in the body of a step
            return f"{self._workflow(DBOS.workflow_id)}/{DBOS.step_id}.set_event {published['key']}/effect"
        return None

    def _of_call(self, inserts: dict[str, Mapping[str, Any]]) -> str | None:
        if started := inserts.get("workflow_status"):
            self._workflows[started["workflow_uuid"]] = started["name"]
            return f"http/start {started['name']}/status"
        if message := inserts.get("notifications"):
            return f"http/send {_value(message, 'topic')}/message"
        return None

    def _of_change(self, writes: list[_Write]) -> str | None:
        for write in writes:
            if write.table == "datasource_outputs":  # DBOS keeps them only for as long as their workflow runs
                return f"{self._workflow(DBOS.workflow_id)}/end/cleanup"
            status = write.values.get("new_status", write.values.get("status"))
            ids = write.workflow_ids()
            if (
                write.table == "workflow_status" and status in _BECOMES and ids
            ):  # without ids: DBOS looks for overdue ones
                change, workflows = _BECOMES[status], "+".join(self._workflow(each) for each in ids)
                in_recovery = change.endswith("queue")
                return f"recovery/{change} {workflows}/status" if in_recovery else f"{workflows}/{change}/status"
        return None

    def _of_own_sql(self, what: str) -> str:
        """SQL that DBOS knows nothing of: in the body of a plain step, beside all steps, or in no workflow at all."""
        if DBOS.workflow_id is None:
            return f"http/{what}/effect"
        step = "outside of a step" if DBOS.step_id is None else f"{DBOS.step_id}.{_step_body.get(what)}"
        return f"{self._workflow(DBOS.workflow_id)}/{step}/effect"

    def _workflow(self, workflow_id: str | None) -> str:
        """The name of a workflow's function. That of a workflow which another process started is in the database."""
        if workflow_id is None:
            return "no workflow"
        if workflow_id not in self._workflows:
            schema = "" if self._system.dialect.name == "sqlite" else "dbos."
            query = sa.text(f"SELECT name FROM {schema}workflow_status WHERE workflow_uuid = :id")  # noqa: S608 - a constant
            with self._beside.connect() as connection:
                self._workflows[workflow_id] = connection.execute(query, {"id": workflow_id}).scalar_one()
        return self._workflows[workflow_id]


class CrashPoints:
    """Watches what a process commits, and ends it at the point that is armed. Make one a process.

    Args:
        armed: Die at the next point with this name; it may be a pattern with `*`. With `#2`, at the second one.
        tell: Called with the name of each point that is reached; also of the last one.
    """

    def __init__(self, armed: str | None = None, tell: Callable[[str], None] | None = None) -> None:
        self.armed = armed
        self._tell = tell
        self._reached: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()

    def arm(self, pattern: str) -> None:
        """Die at the next point with this name, which may be a pattern with `*`.

        Raises:
            ValueError: When no crash point can have such a name.
        """
        if pattern.count("/") < 3 or not pattern.partition("#")[0].endswith(("/before", "/after", "*")):
            raise ValueError(
                f"{pattern!r} is not the name of a crash point. Names have the form WORKFLOW/STEP/PHASE/SIDE, "
                f"as in {next(iter(checkout_points()))}"
            )
        self.armed = pattern

    def watch(self, system: sa.Engine) -> None:
        """Follow the commits of every engine of this process, also of those that are still to be made.

        Args:
            system: The engine of DBOS's system tables.
        """
        self._names = _Names(system)
        event.listen(sa.Engine, "before_cursor_execute", self._before_statement)
        event.listen(sa.Engine, "after_cursor_execute", self._after_statement)
        event.listen(sa.Engine, "commit", self._before_commit)
        event.listen(sa.Engine, "rollback", self._forget)
        event.listen(sa.pool.Pool, "checkin", self._after_use)

    @contextlib.contextmanager
    def watch_step_bodies(self) -> Iterator[None]:
        """Give the steps that are defined meanwhile, with `@DBOS.step()`, crash points at both ends of their bodies.

        DBOS tells nobody when a step's body begins, so its decorator is replaced by one that does.
        """
        decorate = DBOS.step

        def watched(*args: Any, **kwargs: Any) -> Any:
            if args and callable(args[0]):
                raise TypeError("@DBOS.step is called when it decorates: write @DBOS.step()")
            return lambda function: decorate(*args, **kwargs)(self._watched_body(function, kwargs.get("name")))

        DBOS.step = watched  # type: ignore[method-assign]
        try:
            yield
        finally:
            DBOS.step = decorate  # type: ignore[method-assign]

    def _watched_body(self, function: Callable[..., Any], name: str | None) -> Callable[..., Any]:
        step = name or function.__qualname__

        @wraps(function)
        def body(*args: Any, **kwargs: Any) -> Any:
            with self._body_of(step):
                return function(*args, **kwargs)

        @wraps(function)
        async def awaited_body(*args: Any, **kwargs: Any) -> Any:
            with self._body_of(step):
                return await function(*args, **kwargs)

        return awaited_body if inspect.iscoroutinefunction(function) else body

    @contextlib.contextmanager
    def _body_of(self, step: str) -> Iterator[None]:
        """A crash point where the body begins, and one where it ends, unless it raises."""
        if DBOS.step_id is None:  # called outside of a workflow: an ordinary function
            yield
            return
        here = _step_body.set(step)
        point = self._names.of_body()
        try:
            self._reach(point, "before")
            yield
            self._reach(point, "after")
        finally:
            _step_body.reset(here)

    # --- the life of a transaction, as SQLAlchemy tells it

    def _before_statement(self, connection: sa.Connection, _cursor: Any, statement: str, *execution: Any) -> None:
        self._after_commit(connection.info)  # of the transaction before this one, on a connection that was kept
        if _commits_by_itself(connection) and (commit := self._names.of(_writes(statement, execution), connection)):
            self._reach(commit, "before")

    def _after_statement(self, connection: sa.Connection, _cursor: Any, statement: str, *execution: Any) -> None:
        writes = _writes(statement, execution)
        if not _commits_by_itself(connection):
            connection.info.setdefault(_UNCOMMITTED, []).extend(writes)
        elif commit := self._names.of(writes, connection):
            self._reach(commit, "after")

    def _before_commit(self, connection: sa.Connection) -> None:
        if commit := self._names.of(connection.info.pop(_UNCOMMITTED, []), connection):
            self._reach(commit, "before")
            connection.info[_COMMITTED] = commit

    def _after_commit(self, info: dict[str, Any]) -> None:
        if commit := info.pop(_COMMITTED, None):
            self._reach(commit, "after")

    def _after_use(self, _dbapi_connection: Any, record: Any) -> None:
        """SQLAlchemy tells of a commit before it happens; that it has, we know when its connection is given back."""
        self._after_commit(record.info)

    def _forget(self, connection: sa.Connection) -> None:
        for note in (_UNCOMMITTED, _COMMITTED, TRANSACTION):  # a commit may fail, too
            connection.info.pop(note, None)

    def _reach(self, commit: str, side: str) -> None:
        with self._one_at_a_time:
            point = f"{commit}/{side}"
            self._reached[point] += 1
            times = self._reached[point]
            name = point if times == 1 else f"{point}#{times}"
            if self._tell is not None:
                self._tell(name)
            if self.armed is not None and (name == self.armed or fits(point, self.armed)):
                die()


def _writes(statement: str, execution: tuple[Any, ...]) -> list[_Write]:
    found = _WRITE.search(statement)
    if found is None:
        return []
    verb, table = (part for part in found.groups() if part is not None)
    return [_Write(verb.upper(), table, _values(execution))]


def _values(execution: tuple[Any, ...]) -> Mapping[str, Any]:
    """The named values of a statement: DBOS runs its statements through SQLAlchemy, or ready-made with a dictionary."""
    parameters, context, _executemany = execution
    if isinstance(parameters, dict):
        return parameters
    compiled = getattr(context, "compiled_parameters", None)
    return compiled[0] if compiled else {}


def _value(values: Mapping[str, Any], name: str) -> Any:
    """A value by its column, also where SQLAlchemy has put a number behind the name."""
    return next((value for key, value in values.items() if key.startswith(name)), None)


def _commits_by_itself(connection: sa.Connection) -> bool:
    """Whether each statement on this connection is a transaction of its own."""
    raw: Any = connection.connection.dbapi_connection
    return bool(raw.isolation_level is None if connection.dialect.name == "sqlite" else raw.autocommit)
