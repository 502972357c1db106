"""The oracle that needs no rules: a run with a crash must end as one without.

What a run has left is its tables, its workflows with their results, their events, and what was called outside. Two runs
are compared without what differs by its nature: times, random UUIDs, and the gaps that a rolled-back transaction leaves
in a counted primary key.

The method is differential testing: McKeeman, "Differential Testing for Software", Digital Technical Journal 10 (1998).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient

from widget_store.crashtest.looking import asking_dbos, looking_at
from widget_store.crashtest.recorder import Request
from widget_store.databases import Database
from widget_store.plain_text import in_a_line
from widget_store.words import counted

_OF_DBOS = {"datasource_outputs", "dbos_migrations", "alembic_version"}
_UUID = re.compile(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b", re.IGNORECASE)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MOST_TOLD = 3
_LONGEST = 200
_SCHEDULED = "sched-"

Rows = Counter[str]


@dataclass(frozen=True)
class Outcome:
    """What a run has left: by what it is, how often each row of it is there, as text."""

    parts: dict[str, Rows]


def outcome(database: Database, effects: Iterable[Request], ignore: Sequence[str] = ()) -> Outcome:
    """What is left of a run.

    Args:
        database: The run's.
        effects: What was called outside.
        ignore: What is left out: see `Workload.ignore`.
    """
    parts = {"calls outside": Counter(_plain(str(effect)) for effect in effects)}
    with looking_at(database) as connection:
        parts |= _tables(connection, set(ignore))
    with asking_dbos(database) as client, looking_at(database) as connection:
        parts["workflows"] = Counter(_workflows(client, set(ignore)))
        parts["events"] = Counter(_events(connection, client, set(ignore)))
    return Outcome(parts)


def differences(undisturbed: Outcome, other: Outcome, reference: str = "a run without a crash") -> list[str]:
    """A sentence for each part in which two runs differ.

    Args:
        undisturbed: What the first has left.
        other: What the second has left.
        reference: What the first is called.
    """
    return [
        _difference(name, undisturbed.parts.get(name, Counter()), other.parts.get(name, Counter()), reference)
        for name in dict.fromkeys([*undisturbed.parts, *other.parts])
        if undisturbed.parts.get(name, Counter()) != other.parts.get(name, Counter())
    ]


def failed_workflows(database: Database, may_fail: Iterable[str]) -> list[str]:
    """A sentence for each workflow that ended with an error, or was cancelled, and should not."""
    allowed = set(may_fail)
    with asking_dbos(database) as client:
        return [
            f"workflows: {each.name} {each.workflow_id} ended as {each.status}{_why(each.error)}"
            for each in client.list_workflows(load_input=False)
            if each.status != "SUCCESS" and each.name not in allowed
        ]


def _why(error: object) -> str:
    return "" if error is None else f": {in_a_line(repr(error), _LONGEST)}"


def _difference(name: str, undisturbed: Rows, other: Rows, reference: str) -> str:
    added, missing = other - undisturbed, undisturbed - other
    sentences = []
    if added:
        sentences.append(f"has {_listed(added)}, which {reference} has not")
    if missing:
        sentences.append(f"lacks {_listed(missing)}, which {reference} has")
    return f"{name}: {'; '.join(sentences)}"


def _listed(rows: Rows) -> str:
    told = [f"{in_a_line(row, _LONGEST)}{f' ({times} times)' if times > 1 else ''}" for row, times in rows.items()]
    more = len(told) - _MOST_TOLD
    return " and ".join(told[:_MOST_TOLD]) + (f" and {counted(more, 'more')}" if more > 0 else "")


# --- tables


def _tables(connection: sa.Connection, ignore: set[str]) -> dict[str, Rows]:
    metadata = sa.MetaData()
    metadata.reflect(connection, resolve_fks=False)
    tables = [table for table in metadata.sorted_tables if table.name not in _OF_DBOS | ignore]
    numbers = {table.name: _places(connection, table) for table in tables}
    return {f"table {table.name}": Counter(_rows(connection, table, numbers, ignore)) for table in tables}


def _places(connection: sa.Connection, table: sa.Table) -> dict[Any, int]:
    """For each value of a counted primary key, its place: a transaction that was rolled back leaves a gap."""
    key = list(table.primary_key.columns)
    if (
        len(key) != 1
        or not isinstance(key[0].type, sa.Integer)
        or not _is_counted(key[0], connection.dialect.name == "sqlite")
    ):
        return {}
    values = connection.execute(sa.select(key[0]).order_by(key[0])).scalars()
    return {value: place for place, value in enumerate(values, start=1)}


def _is_counted(column: sa.Column[Any], is_sqlite: bool) -> bool:
    """Whether the database gives the numbers: from a sequence, or as SQLite does for every such key."""
    default = column.server_default
    from_sequence = isinstance(default, sa.DefaultClause) and "nextval" in str(default.arg)
    return column.identity is not None or from_sequence or (is_sqlite and not column.foreign_keys)


def _rows(
    connection: sa.Connection, table: sa.Table, numbers: dict[str, dict[Any, int]], ignore: set[str]
) -> Iterator[str]:
    columns = [column for column in table.columns if not _is_left_out(column, ignore)]
    for row in connection.execute(sa.select(*columns) if columns else sa.select(sa.literal(1)).select_from(table)):
        values = [
            f"{column.name} {_plain(_numbered(value, column, numbers))}"
            for column, value in zip(columns, row, strict=False)
        ]
        yield f"({', '.join(values)})"


def _is_left_out(column: sa.Column[Any], ignore: set[str]) -> bool:
    is_a_time = isinstance(column.type, sa.DateTime | sa.Time | sa.Date | sa.Interval)
    return is_a_time or f"{column.table.name}.{column.name}" in ignore


def _numbered(value: Any, column: sa.Column[Any], numbers: dict[str, dict[Any, int]]) -> Any:
    """A counted key, or a reference to one, by its place."""
    for reference in column.foreign_keys:
        table = reference.target_fullname.split(".")[-2]
        return numbers.get(table, {}).get(value, value)
    return numbers[column.table.name].get(value, value) if column.primary_key else value


# --- workflows and their events


def _workflows(client: DBOSClient, ignore: set[str]) -> Iterator[str]:
    scheduled = set()
    for each in client.list_workflows(load_input=False):
        result = "" if f"{each.name}()" in ignore else f" {_plain(each.error if each.error else each.output)}"
        if each.workflow_id.startswith(_SCHEDULED):  # how often a clock strikes in a run, chance decides
            scheduled.add(f"{each.name} by a schedule: {each.status}{result}")
        else:
            yield f"{each.name} {_plain(each.workflow_id, as_text=True)}: {each.status}{result}"
    yield from scheduled


def _events(connection: sa.Connection, client: DBOSClient, ignore: set[str]) -> Iterator[str]:
    for workflow_id, key, stored in connection.execute(
        sa.text("SELECT workflow_uuid, key, value FROM dbos.workflow_events")
    ):
        try:
            value = client.get_event(workflow_id, key, timeout_seconds=0)
        except Exception:  # noqa: BLE001 - of a class that only the application can import: compared as it is stored
            value = stored
        told = "" if f"event {key}" in ignore else f": {_plain(value)}"
        yield f"{key} of {_plain(workflow_id, as_text=True)}{told}"


def _plain(value: object, as_text: bool = False) -> str:
    """A value as text, without what is random by nature."""
    text = value if as_text and isinstance(value, str) else _represented(value)
    return _ADDRESS.sub("", _UUID.sub("<uuid>", text))


def _represented(value: object) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception as failure:  # noqa: BLE001 - somebody else's __repr__
        return f"<{type(value).__name__}, whose text raised {type(failure).__name__}>"
