"""Recovered state: what the database holds, as tables. It is read with DBOSClient and SQL, so the store may be dead."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa
from dbos import DBOSClient, WorkflowStatus
from sqlalchemy.engine import make_url

from widget_store.databases import Database
from widget_store.lab.order_status import status_in_words
from widget_store.plain_text import failure_in_words, in_a_line, plain
from widget_store.schema import OrderStatus, metadata, orders, products

_LONGEST_RESULT = 1_000
_DIGITS_OF_AN_ID = 18
_DBOS_TABLES = ("datasource_", "dbos_")  # on SQLite, what DBOS keeps beside the store's tables


@dataclass(frozen=True)
class Step:
    """One checkpointed step. Times are seconds since 1970."""

    number: int
    name: str
    result: str
    started_at: float
    ended_at: float


class State:
    """The tables of one database. `store.state` and `workers.state` give it, and close it."""

    def __init__(self, database: Database) -> None:
        logging.getLogger("dbos").addFilter(_is_news)
        self._engine = database.engine(pool_size=2, pool_pre_ping=True)
        self._system = database.system_engine(pool_size=2, pool_pre_ping=True)
        self._client = DBOSClient(system_database_engine=self._system, application_name="widget-store")
        self._asking = _engine_that_only_reads(database)

    def close(self) -> None:
        """Let go of the database."""
        self._client.destroy()
        self._engine.dispose()
        self._system.dispose()
        self._asking.dispose()

    @property
    def client(self) -> DBOSClient:
        """DBOS's own way to look at workflows from outside, and to cancel, resume, fork and rewind them."""
        return self._client

    def query(self, sql: str, **values: Any) -> pd.DataFrame:
        """Run a query of your own on the store's tables and DBOS's. It can change nothing.

        In texts, control characters are written out, as in Python.

        Args:
            sql: A statement. DBOS's tables may be written with their schema, as in `dbos.workflow_status`, or without.
            values: The values of names such as `:id` in it, as in `query("… WHERE order_id = :id", id=1)`.

        Returns:
            A row for each row that it finds, with the columns of the query.

        Raises:
            sqlalchemy.exc.DBAPIError: When the database refuses the statement.
        """
        return self._found(sa.text(sql), values)

    def orders(self) -> pd.DataFrame:
        """Return a row for each order, newest first: `order`, `status`, and `steps to go`, those of the dispatch."""
        columns = (orders.c.order_id, orders.c.order_status, orders.c.progress_remaining)
        newest_first = sa.select(*columns).order_by(orders.c.order_id.desc())
        with self._engine.connect() as connection:
            rows = connection.execute(newest_first).all()
        records = [(row.order_id, status_in_words(row.order_status), row.progress_remaining) for row in rows]
        return _table(records, ["order", "status", "steps to go"])

    def workflows(self) -> pd.DataFrame:
        """Return a row for each workflow, oldest first: `workflow`, its id; `function`; and DBOS's `status`."""
        records = [
            (in_a_line(workflow.workflow_id), in_a_line(workflow.name), workflow.status)
            for workflow in self.all_workflows()
        ]
        return _table(records, ["workflow", "function", "status"])

    def steps(self, workflow_id: str, *, timings: bool = False) -> pd.DataFrame:
        """Return a row for each step of a workflow that has a checkpoint: `step`, `what` and `result`.

        `step` is DBOS's number, `what` the name in crash points, and `result` what was recorded, as text. Of an unknown
        workflow, there is no row.

        Args:
            workflow_id: For a checkout, the customer's key.
            timings: Also how long each took: the column `milliseconds`.
        """
        records = [
            (step.number, step.name, step.result, round((step.ended_at - step.started_at) * 1000))
            for step in self.steps_of(workflow_id)
        ]
        table = _table(records, ["step", "what", "result", "milliseconds"])
        return table if timings else table.drop(columns="milliseconds")

    def steps_of_order(self, order_id: int) -> pd.DataFrame:
        """Return the steps of the checkout that created an order, as `steps` does.

        Raises:
            LookupError: When no checkout has created it.
        """
        for workflow in self.all_workflows():
            if order_created_by(self.steps_of(workflow.workflow_id)[:1]) == order_id:
                return self.steps(workflow.workflow_id)
        raise LookupError(f"No checkout has created order {order_id}.")

    def books(self) -> pd.Series:
        """Return a Series of four numbers: `ever on the shelf`, `on the shelf`, `held by orders`, and `missing`.

        `missing` is 0 unless a widget was lost or sold twice.
        """
        holding = sa.select(sa.func.count()).where(orders.c.order_status != OrderStatus.CANCELLED)
        with self._engine.connect() as connection:
            product = connection.execute(sa.select(products)).one()
            held = connection.execute(holding).scalar_one()
        missing = product.stock_added - product.inventory - held
        return pd.Series(
            {
                "ever on the shelf": product.stock_added,
                "on the shelf": product.inventory,
                "held by orders": held,
                "missing": missing,
            },
            name="widgets",
        )

    def own_tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables that a learner's file has put beside the store's: a dict with a table for each name."""
        names = sa.inspect(self._engine).get_table_names()
        own = [name for name in names if name not in metadata.tables and not name.startswith(_DBOS_TABLES)]
        return {name: self._all_of(name) for name in own}

    def _all_of(self, table: str) -> pd.DataFrame:
        """All rows of a table. What a learner has put there may not be readable: a date without an end, for example."""
        by_its_name = sa.table(sa.quoted_name(table, quote=True))
        try:
            return self._found(sa.select(sa.text("*")).select_from(by_its_name).order_by(sa.text("1")))
        except sa.exc.SQLAlchemyError as failure:
            return pd.DataFrame({"this table can't be read": [failure_in_words(failure)]}, dtype=object)

    def _found(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> pd.DataFrame:
        with self._asking.connect() as connection:
            rows = connection.execute(statement, values)
            columns = list(map(in_a_line, rows.keys()))
            return pd.DataFrame([tuple(map(_harmless, row)) for row in rows], columns=columns, dtype=object)

    def status_of(self, order_id: int) -> OrderStatus | None:
        """An order's status; None when there is no such order, or no such status."""
        with self._engine.connect() as connection:
            status = connection.scalar(sa.select(orders.c.order_status).where(orders.c.order_id == order_id))
        return OrderStatus(status) if status in set(OrderStatus) else None

    def all_workflows(self, limit: int | None = None) -> list[WorkflowStatus]:
        """The workflows, oldest first; with a limit, only the newest ones."""
        newest_first = self._client.list_workflows(sort_desc=True, limit=limit, load_input=False, load_output=False)
        return newest_first[::-1]

    def steps_of(self, workflow_id: str) -> list[Step]:
        """The steps of a workflow that have a checkpoint, in order."""
        events = self._published(workflow_id)
        recorded = self._client.list_workflow_steps(workflow_id)
        # DBOS records the timer of a wait for a message as a step of its own, a sleep right behind it: no news to a
        # reader.
        # While the wait goes on, there is the timer only.
        numbers = {step["function_id"] for step in recorded}
        timers = {
            step["function_id"]
            for step in recorded
            if step["function_name"] == "DBOS.sleep"
            and step["function_id"] > 1
            and step["function_id"] - 1 not in numbers
        } | {step["function_id"] + 1 for step in recorded if step["function_name"] == "DBOS.recv"}
        return [
            Step(
                number=step["function_id"],
                name=in_a_line(_name_in_crash_points(step["function_name"], events.get(step["function_id"]))),
                result=_plain_result(step["function_name"], step["output"], step["error"]),
                started_at=(step["started_at_epoch_ms"] or 0) / 1000,
                ended_at=(step["completed_at_epoch_ms"] or step["started_at_epoch_ms"] or 0) / 1000,
            )
            for step in recorded
            if step["function_id"] not in timers
        ]

    def _published(self, workflow_id: str) -> dict[int, str]:
        """Which event each step of a workflow published; DBOS keeps it in a table of its own."""
        history = sa.table(
            "workflow_events_history",
            sa.column("workflow_uuid"),
            sa.column("function_id"),
            sa.column("key"),
            schema=None if self._system.name == "sqlite" else "dbos",
        )
        query = sa.select(history.c.function_id, history.c.key).where(history.c.workflow_uuid == workflow_id)
        with self._system.connect() as connection:
            return {row.function_id: row.key for row in connection.execute(query)}


def _engine_that_only_reads(database: Database) -> sa.Engine:
    """An engine to which DBOS's tables are the schema `dbos`, and are found without it too, on both databases."""
    engine = database.engine(poolclass=sa.NullPool)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if database.is_sqlite:
            cursor.execute("ATTACH DATABASE ? AS dbos", [make_url(database.system_url).database])
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("SET search_path TO public, dbos")
            cursor.execute("SET default_transaction_read_only TO on")
            connection.commit()
        cursor.close()

    return engine


def _is_news(entry: logging.LogRecord) -> bool:
    """Whether DBOS logs what no table shows. Of each value that can't be read here, it warns whenever somebody looks.

    A panel looks many times, and the id in the warning may be in a learner's words.
    """
    return "could not be deserialized" not in str(entry.msg)


def _name_in_crash_points(function_name: str, event: str | None) -> str:
    """A step has one name: that of its call, as in crash points."""
    if function_name == "DBOS.setEvent":
        return f"set_event {event or ''}".strip()
    return function_name.removeprefix("DBOS.")


def order_created_by(steps: Iterable[Step]) -> int | None:
    """The order that a checkout with these steps has created; None before, and when its step has returned no id."""
    for step in steps:
        if step.name == "create_order":
            return int(step.result) if step.result.isdecimal() and len(step.result) <= _DIGITS_OF_AN_ID else None
    return None


def _harmless(value: Any) -> Any:
    """A value of a database, whole, but without control characters, also in an array or in JSON."""
    if isinstance(value, str):
        return plain(value, len(value))
    if isinstance(value, list):
        return [_harmless(each) for each in value]
    if isinstance(value, dict):
        return {_harmless(key): _harmless(each) for key, each in value.items()}
    return value


def _plain_result(function_name: str, output: object, error: object) -> str:
    if error is not None:
        return in_a_line(failure_in_words(error), _LONGEST_RESULT)
    hidden = output is None or function_name in {"DBOS.sleep", "dispatch_order_workflow"}
    return "" if hidden else in_a_line(output, _LONGEST_RESULT)


def _table(records: Sequence[tuple[object, ...]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame.from_records(records, columns=columns).set_index(columns[0])
