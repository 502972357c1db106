"""Looking at the database of a run, in plain SQL: it asks the tables and not DBOS, so a mistake of DBOS would show too.

On SQLite, DBOS's tables are in a file of their own, which is attached under the name of the schema that they have on
PostgreSQL: the same SQL works on both.
"""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from widget_store.databases import Database


@contextlib.contextmanager
def looking_at(database: Database) -> Iterator[sa.Connection]:
    """A connection to an application's tables and, under the name `dbos`, to those of DBOS. Each statement commits."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if database.is_sqlite:
            connection.execute(
                sa.text("ATTACH DATABASE :file AS dbos"), {"file": make_url(database.system_url).database}
            )
        yield connection


def at_rest(connection: sa.Connection) -> bool:
    """Whether no workflow is running, or waiting to."""
    running = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
    return bool(connection.execute(sa.text(running)).scalar_one() == 0)


def count_workflows(connection: sa.Connection) -> int:
    """How many workflows there are, ended or not."""
    return int(connection.execute(sa.text("SELECT count(*) FROM dbos.workflow_status")).scalar_one())


def has_schedules(connection: sa.Connection) -> bool:
    """Whether there is a schedule that may start workflows by itself."""
    return connection.execute(sa.text("SELECT 1 FROM dbos.workflow_schedules")).first() is not None
