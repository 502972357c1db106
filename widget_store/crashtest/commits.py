"""What a commit is called: by what it writes, and by who makes it.

The name of a commit is the same in every run: WORKFLOW/STEP/PHASE. `widget_store.crashtest.points` says what they mean.
"""

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from dbos import DBOS

_TABLE = r"(?:\"?\w+\"?\.)?\"?(\w+)\"?"
_WRITE = re.compile(
    rf"\b(?:(INSERT|REPLACE|MERGE)(?:\s+OR\s+\w+)?\s+INTO\s+{_TABLE}"
    rf"|(TRUNCATE)(?:\s+TABLE)?\s+{_TABLE}"
    rf"|(COPY)\s+{_TABLE}(?:\s*\([^)]*\))?\s+FROM\b"
    rf"|(DELETE)\s+FROM\s+{_TABLE}"
    rf"|(UPDATE)\s+{_TABLE}(?:\s+(?:AS\s+)?\w+)?\s+SET\b)",
    re.IGNORECASE,
)
_BECOMES = {"PENDING": "dequeue", "ENQUEUED": "requeue", "SUCCESS": "end", "ERROR": "fail", "CANCELLED": "cancel"}
# DBOS's own work in the background, which changes no workflow: versions, queues and schedules that are registered,
# workflows that are overdue (a change without an id), messages that were received.
_BACKGROUND = {"application_versions", "dbos_migrations", "notifications", "queues", "workflow_schedules"}

step_body: ContextVar[str] = ContextVar("step_body")
"""The name of the step in whose body this code runs, for steps that are not transactions."""
transaction: ContextVar[str | None] = ContextVar("transaction", default=None)
"""The name of the transaction of a datasource that is running."""
caller: ContextVar[str | None] = ContextVar("caller", default=None)
"""Who makes a commit that belongs to no workflow: `launch`, `call`, `http`; None where nobody has said so."""


@dataclass(frozen=True)
class Write:
    """One statement that changes a table.

    Attributes:
        verb: INSERT, UPDATE, DELETE and the like, in capitals.
        table: Without its schema.
        values: The statement's named values.
    """

    verb: str
    table: str
    values: Mapping[str, Any]

    def workflow_ids(self) -> list[str]:
        """The workflows that a statement of DBOS is about."""
        return [str(value) for name, value in self.values.items() if name.startswith(("workflow_uuid", "wf_id"))]


def writes(statement: str, parameters: object = (), context: object = None) -> list[Write]:
    """What a statement changes: one table, or none.

    Args:
        statement: SQL.
        parameters: What it is executed with. DBOS runs ready-made statements with a dictionary.
        context: SQLAlchemy's, of the execution.
    """
    found = _WRITE.search(statement)
    if found is None:
        return []
    verb, table = (part for part in found.groups() if part is not None)
    compiled = getattr(context, "compiled_parameters", None)
    values = parameters if isinstance(parameters, dict) else compiled[0] if compiled else {}
    return [Write(verb.upper(), table, values)]


class Names:
    """Gives each commit of a process its name.

    Args:
        system: The engine of DBOS's system tables.
        otherwise: Who makes a commit that belongs to no workflow, where nobody has said so.
    """

    def __init__(self, system: sa.Engine, otherwise: str) -> None:
        self._system = system
        self._otherwise = otherwise
        # Asked in the midst of a commit: with a connection of the pool in hand, nobody may wait there for a second one.
        self._beside = sa.create_engine(system.url, poolclass=sa.NullPool)
        self._workflows: dict[str, str] = {}
        self._recovered: set[str] = set()

    def of(self, written: list[Write], pool: object) -> str | None:
        """The name of the commit that makes these writes last; None when it concerns no workflow and no call.

        Args:
            written: What the transaction has changed.
            pool: Of the connection, where SQLAlchemy made it.
        """
        if not written:
            return None
        if pool is not self._system.pool and not any(write.table == "datasource_outputs" for write in written):
            return self._of_own_sql(transaction.get() or written[0].table)
        inserts = {write.table: write.values for write in written if write.verb == "INSERT"}
        name = self._of_step(inserts) or self._of_call(inserts) or self._of_change(written)
        return name or self._of_the_unknown(written)

    def of_body(self) -> str:
        """The name of the step body in which this code runs."""
        return f"{self._workflow(DBOS.workflow_id)}/{DBOS.step_id}.{step_body.get()}/body"

    def _of_step(self, inserts: dict[str, Mapping[str, Any]]) -> str | None:
        if record := inserts.get("operation_outputs"):
            name = str(record["function_name"]).removeprefix("DBOS.")
            if published := inserts.get("workflow_events"):
                name = f"set_event {published['key']}"
            return f"{self._workflow(record['workflow_uuid'])}/{record['function_id']}.{name}/checkpoint"
        if record := inserts.get("datasource_outputs"):
            return f"{self._workflow(record['workflow_id'])}/{record['step_id']}.{transaction.get()}/effect"
        if (published := inserts.get("workflow_events")) and DBOS.step_id is not None:  # in the body of a step
            return f"{self._workflow(DBOS.workflow_id)}/{DBOS.step_id}.set_event {published['key']}/effect"
        return None

    def _of_call(self, inserts: dict[str, Mapping[str, Any]]) -> str | None:
        if started := inserts.get("workflow_status"):
            self._workflows[started["workflow_uuid"]] = started["name"]
            return f"{self._caller()}/start {started['name']}/status"
        if message := inserts.get("notifications"):
            return f"{self._caller()}/send {_value(message, 'topic')}/message"
        return None

    def _of_change(self, written: list[Write]) -> str | None:
        for write in written:
            if write.table == "datasource_outputs":  # DBOS keeps them only for as long as their workflow runs
                return f"{self._workflow(DBOS.workflow_id)}/end/cleanup"
            status = write.values.get("new_status", write.values.get("status"))
            ids = write.workflow_ids()
            if write.table == "workflow_status" and status in _BECOMES and ids:
                change, workflows = _BECOMES[status], "+".join(self._workflow(each) for each in ids)
                if not change.endswith("queue"):
                    return f"{workflows}/{change}/status"
                return f"{self._who_takes(ids, change)}/{change} {workflows}/status"
        return None

    def _who_takes(self, ids: list[str], change: str) -> str:
        """A workflow that comes from its queue for the first time is not one that is recovered."""
        if change == "requeue":
            self._recovered.update(ids)
        return "recovery" if any(each in self._recovered or self._has_begun(each) for each in ids) else "queue"

    def _of_own_sql(self, what: str) -> str:
        """SQL that DBOS knows nothing of: in the body of a plain step, beside all steps, or in no workflow at all."""
        if DBOS.workflow_id is None:
            return f"{self._caller()}/{what}/effect"
        step = "outside of a step" if DBOS.step_id is None else f"{DBOS.step_id}.{step_body.get(what)}"
        return f"{self._workflow(DBOS.workflow_id)}/{step}/effect"

    def _of_the_unknown(self, written: Iterable[Write]) -> str | None:
        """A commit of DBOS that this module does not know: another DBOS, perhaps. It is a crash point all the same."""
        tables = {write.table for write in written} - _BACKGROUND
        changed = {write.table for write in written if write.table in tables and _says_whose(write)}
        return f"unknown/{'+'.join(sorted(changed))}/effect" if changed else None

    def _caller(self) -> str:
        return caller.get() or self._otherwise

    def _workflow(self, workflow_id: str | None) -> str:
        """The name of a workflow's function. That of a workflow which another process started is in the database."""
        if workflow_id is None:
            return "no workflow"
        if workflow_id not in self._workflows:
            self._workflows[workflow_id] = str(self._ask("name FROM {}workflow_status WHERE", workflow_id))
        return self._workflows[workflow_id]

    def _has_begun(self, workflow_id: str) -> bool:
        return bool(self._ask("count(*) FROM {}operation_outputs WHERE", workflow_id))

    def _ask(self, what: str, workflow_id: str) -> Any:
        schema = "" if self._system.dialect.name == "sqlite" else "dbos."
        query = sa.text(f"SELECT {what.format(schema)} workflow_uuid = :id")
        with self._beside.connect() as connection:
            return connection.execute(query, {"id": workflow_id}).scalar_one()


def _says_whose(write: Write) -> bool:
    """Whether a change is that of certain workflows. DBOS also changes all that are overdue, and whose it is to say."""
    return write.table != "workflow_status" or bool(write.workflow_ids())


def _value(values: Mapping[str, Any], name: str) -> Any:
    """A value by its column, also where SQLAlchemy has put a number behind the name."""
    return next((value for key, value in values.items() if key.startswith(name)), None)
