"""The workflows that a DBOS database holds: read without a write, and copied into a throw-away database."""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import pathname2url

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from widget_store.databases.database import without_password
from widget_store.errors import DatabaseUnavailable

UNDER_WAY = ("PENDING", "ENQUEUED", "DELAYED")
"""The statuses of a workflow that DBOS will run, or go on with, after the release."""
FINISHED = ("SUCCESS", "ERROR")
_TABLES = ("workflow_status", "workflow_input", "workflow_output", "operation_outputs", "workflow_events_history")
_AT_A_TIME = 500  # ids in a query: SQLite takes 32,766
# What would make DBOS start a workflow of the copy by itself, or end it: only the replay does.
_AT_REST: dict[str, Any] = {
    "queue_name": None,
    "executor_id": "stored",
    "deduplication_id": None,
    "workflow_deadline_epoch_ms": None,
    "delay_until_epoch_ms": None,
    "attributes": None,  # labels for people; on PostgreSQL in a type that SQLite lacks
}

Row = Mapping[str, Any]
Result = dict[str, str | None]
"""A value or an exception as DBOS wrote it: `output`, `error` and `serialization`."""


@dataclass(frozen=True)
class Step:
    """A checkpoint.

    Attributes:
        name: The step's; DBOS's own calls have names such as `DBOS.sleep`.
        of: The id of the workflow that it started or waited for, or the key of the event that it published.
        result: What it returned or raised.
    """

    name: str
    of: str | None
    result: Result


@dataclass(frozen=True)
class StoredWorkflow:
    """A workflow, as far as it has come.

    Attributes:
        steps: Its checkpoints by number, from 1.
        result: What it returned or raised; nothing but the `serialization` while it is under way.
    """

    workflow_id: str
    name: str
    status: str
    steps: dict[int, Step]
    result: Result

    @property
    def is_finished(self) -> bool:
        """Whether it has returned or raised."""
        return self.status in FINISHED


@dataclass(frozen=True)
class Stored:
    """What was read: whole rows, by table.

    Attributes:
        left_out: How many more workflows there are than were asked for.
    """

    rows: dict[str, list[Row]] = field(repr=False)
    left_out: int

    def workflows(self) -> list[StoredWorkflow]:
        """The workflows: those under way first, then the newest."""
        keys = {(row["workflow_uuid"], row["function_id"]): row["key"] for row in self.rows["workflow_events_history"]}
        steps: dict[str, dict[int, Step]] = {}
        for row in self.rows["operation_outputs"]:
            key = keys.get((row["workflow_uuid"], row["function_id"]))
            step = Step(row["function_name"], row["child_workflow_id"] or key, _result_of(row))
            steps.setdefault(row["workflow_uuid"], {})[row["function_id"]] = step
        results = {row["workflow_uuid"]: row for row in self.rows["workflow_output"]}
        return [
            StoredWorkflow(
                workflow_id=row["workflow_uuid"],
                name=row["name"],
                status=row["status"],
                steps=steps.get(row["workflow_uuid"], {}),
                result=_result_of({**row, **_given(results.get(row["workflow_uuid"], {}))}),
            )
            for row in self.rows["workflow_status"]
        ]


def _given(row: Row) -> dict[str, Any]:
    """What an older DBOS kept with the status itself, a newer one keeps apart."""
    return {name: value for name, value in row.items() if value is not None}


def _result_of(row: Row) -> Result:
    return {name: row.get(name) for name in ("output", "error", "serialization")}


def read_stored(url: str, *, schema: str, application: str | None, finished: bool, limit: int) -> Stored:
    """Read workflows in one read-only transaction: what a running system writes meanwhile is not seen.

    Args:
        url: DBOS's system database.
        schema: The schema of DBOS's tables; SQLite has none.
        application: Leave out what belongs to an application of another name; None for all.
        finished: Read all, not only those under way.
        limit: How many at most.

    Raises:
        DatabaseUnavailable: When it can't be read, or is no database of DBOS.
    """
    with _reading(url) as connection:
        tables = _tables(connection, url, schema)
        status = tables["workflow_status"].c
        wanted: sa.ColumnElement[bool] = sa.true() if finished else status.status.in_(UNDER_WAY)
        if application is not None and "application_name" in status:
            wanted = sa.and_(wanted, sa.or_(status.application_name.is_(None), status.application_name == application))
        under_way_first = sa.case((status.status.in_(UNDER_WAY), 0), else_=1)
        newest = sa.select(tables["workflow_status"]).where(wanted).order_by(under_way_first, status.created_at.desc())
        found: list[Row] = [dict(row) for row in connection.execute(newest.limit(limit)).mappings()]
        how_many = connection.execute(sa.select(sa.func.count()).where(wanted)).scalar_one()
        rows = {name: list(_rows_of(connection, tables.get(name), found)) for name in _TABLES[1:]}
    return Stored({"workflow_status": found, **rows}, how_many - len(found))


def _rows_of(connection: sa.Connection, table: sa.Table | None, workflows: list[Row]) -> Iterator[Row]:
    if table is None:
        return
    ids = [row["workflow_uuid"] for row in workflows]
    for start in range(0, len(ids), _AT_A_TIME):
        of_these = table.c.workflow_uuid.in_(ids[start : start + _AT_A_TIME])
        yield from map(dict, connection.execute(sa.select(table).where(of_these)).mappings())


@contextlib.contextmanager
def _reading(url: str) -> Iterator[sa.Connection]:
    parsed = _parsed(url)
    engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    try:
        with engine.connect() as connection:
            yield connection
    except sa.exc.DatabaseError as failure:
        reason = str(failure.orig).strip().splitlines()[0]
        raise DatabaseUnavailable(f"The database {without_password(parsed)} can't be read: {reason}") from None
    finally:
        engine.dispose()


def _parsed(url: str) -> URL:
    with contextlib.suppress(sa.exc.ArgumentError):
        if (parsed := make_url(url)).get_backend_name() in {"postgresql", "sqlite"}:
            return parsed
    raise DatabaseUnavailable(
        "The database's URL starts with neither postgresql:// nor sqlite:///. Name DBOS's system database."
    )


def _sqlite(url: URL) -> sa.Engine:
    file = Path(url.database or "").resolve()
    if not file.is_file():
        raise DatabaseUnavailable(f"There is no SQLite file {file}. Name DBOS's system database.")
    address = f"file:{pathname2url(str(file))}?mode=ro"
    return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=sa.NullPool)


def _postgresql(url: URL) -> sa.Engine:
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 5}, poolclass=sa.NullPool
    )
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _tables(connection: sa.Connection, url: str, schema: str) -> dict[str, sa.Table]:
    in_schema = None if connection.dialect.name == "sqlite" else schema
    there = set(sa.inspect(connection).get_table_names(schema=in_schema))
    if not {"workflow_status", "operation_outputs"} <= there:
        where = "" if in_schema is None else f" in the schema {schema}"
        raise DatabaseUnavailable(
            f"The database {without_password(make_url(url))} has no tables of DBOS{where}. Name DBOS's system database."
        )
    metadata = sa.MetaData(schema=in_schema)
    return {name: sa.Table(name, metadata, autoload_with=connection) for name in _TABLES if name in there}


def copy_into(file: Path, stored: Stored) -> None:
    """Copy the rows into a throw-away SQLite database of DBOS, where nothing starts by itself.

    Raises:
        DatabaseUnavailable: When a newer DBOS has made the rows.
    """
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        for name in _TABLES:
            table = sa.Table(name, sa.MetaData(), autoload_with=connection)
            if rows := [_at_rest(row, table) for row in stored.rows[name]]:
                connection.execute(sa.insert(table), rows)


def _at_rest(row: Row, table: sa.Table) -> dict[str, Any]:
    if more := row.keys() - table.c.keys():
        raise DatabaseUnavailable(
            f"The database was made by a newer DBOS than this one: its table {table.name} has also "
            f"{', '.join(sorted(more))}.\nInstall the version of DBOS that the application runs on."
        )
    needed = {column.name: 0 for column in table.c if not column.nullable and column.server_default is None}
    copied = {**needed, **row, **{name: value for name, value in _AT_REST.items() if name in table.c}}
    if row.get("status", "SUCCESS") not in FINISHED:
        copied["status"] = "PENDING"
    return copied
