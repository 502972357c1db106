"""A database that is there: what it is called, how to connect to it, and whether a store can live in it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import URL, make_url

from widget_store.errors import DatabaseUnavailable
from widget_store.settings import PREFIX
from widget_store.system.limits import lack

CONNECTIONS_OF_A_STORE = 16
"""How many connections to a PostgreSQL a store with one worker and its notebook have at most."""
_ANSWERS_WITHIN_SECONDS = 5
# SQLite has one writer at a time. Whoever writes waits for its turn, and asks for it when its transaction begins.
_PATIENT = {"timeout": 30, "isolation_level": "IMMEDIATE"}
# A machine that is lost says no farewell. The other end asks after it, and gives it up after three seconds: the client
# by the first of these, the server by the second. Otherwise the server would keep a lost worker's locks for two hours.
_CLIENT_ASKS = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2, "tcp_user_timeout": 3000}
_SERVER_ASKS = {f"tcp_{name.removeprefix('tcp_')}": value for name, value in _CLIENT_ASKS.items()}

_WHAT_THE_ROLE_MAY = sa.text("""
    SELECT current_user AS role,
           current_database() AS database,
           current_setting('transaction_read_only') = 'on' AS only_read,
           CASE WHEN to_regnamespace('dbos') IS NULL
                THEN has_database_privilege(current_database(), 'CREATE')
                ELSE has_schema_privilege('dbos', 'USAGE') AND has_schema_privilege('dbos', 'CREATE')
           END
           AND (to_regclass('products') IS NOT NULL
                OR coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)) AS make_tables,
           coalesce((SELECT min(most)
                     FROM (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user
                           UNION ALL
                           SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS limits (most)
                     WHERE most >= 0), -1) AS connections
""")


def until_the_peer_is_lost(url: str) -> dict[str, Any]:
    """What to connect to a PostgreSQL with, for each end to notice within seconds that the other's machine is lost."""
    given = make_url(url).query
    asks = " ".join(f"-c {name}={value}" for name, value in _SERVER_ASKS.items())
    options = given.get("options") or os.environ.get("PGOPTIONS", "")
    return {name: value for name, value in _CLIENT_ASKS.items() if name not in given} | {
        "options": f"{asks} {options}".strip()  # what is given comes last, and wins
    }


def _engine(url: str, options: dict[str, Any]) -> sa.Engine:
    engine = sa.create_engine(url, **options)
    sa.event.listen(engine, "handle_error", _keep_the_interrupt)
    return engine


def _keep_the_interrupt(failed: sa.ExceptionContext) -> None:
    """Let Ctrl-C in the midst of a statement be Ctrl-C, not the error that the way out of the statement makes of it.

    SQLAlchemy resets or rolls back what was interrupted, and psycopg refuses that when the answer is still to come.
    """
    cause = failed.original_exception.__context__
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        cause = cause.__context__


@dataclass(frozen=True)
class Database:
    """The two URLs of a store's data. On PostgreSQL both are one database; on SQLite they are two files.

    Attributes:
        url: The store's own tables, and DBOS's checkpoints of its transactions.
        system_url: DBOS's system tables.
        name: What to call it in front of people: the URL without its password.
        server_folder: The embedded PostgreSQL's; None for a database that somebody else runs.
        revive: What starts the embedded PostgreSQL again.
    """

    url: str = field(repr=False)  # it may hold a password
    system_url: str = field(repr=False)
    name: str
    server_folder: Path | None = None
    revive: "Callable[[], Database] | None" = field(default=None, repr=False, compare=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether the data is in SQLite files."""
        return self.url.startswith("sqlite")

    @property
    def sqlite_files(self) -> tuple[Path, ...]:
        """The two files of an SQLite database; none of a PostgreSQL."""
        urls = (self.url, self.system_url) if self.is_sqlite else ()
        return tuple(Path(str(make_url(url).database)) for url in urls)

    def engine(self, **options: Any) -> sa.Engine:
        """A SQLAlchemy engine on the store's own tables. Whoever asks for it disposes of it."""
        options.setdefault("connect_args", _PATIENT if self.is_sqlite else {"connect_timeout": _ANSWERS_WITHIN_SECONDS})
        return _engine(self.url, options)

    def system_engine(self, **options: Any) -> sa.Engine:
        """A SQLAlchemy engine on DBOS's own tables. Whoever asks for it disposes of it."""
        if not self.is_sqlite:
            return self.engine(**options)
        options.setdefault("connect_args", _PATIENT)
        return _engine(self.system_url, options)

    def connect(self, **options: Any) -> "psycopg.Connection[Any]":
        """A connection to a PostgreSQL without SQLAlchemy, each statement committed by itself.

        Args:
            options: More of libpq's connection parameters.
        """
        # As parts: libpq reads a URL by other rules than those SQLAlchemy writes it by. A space is one difference.
        dialect: Any = PGDialect_psycopg
        _, parts = dialect().create_connect_args(make_url(self.url))
        return psycopg.connect(**{"connect_timeout": _ANSWERS_WITHIN_SECONDS, **parts, **options}, autocommit=True)

    def check(self) -> None:
        """Make sure that a store can live in this database.

        A PostgreSQL answers, can be written to, and lets its user make tables, with as many connections as a store
        needs. An SQLite file is one, and can be written to.

        Raises:
            DatabaseUnavailable: When it doesn't; the message names the URL without its password.
        """
        try:
            with self.engine(poolclass=sa.NullPool).connect() as connection:
                if self.is_sqlite:
                    connection.exec_driver_sql("PRAGMA schema_version")  # connecting alone reads nothing
                    self._check_files()
                else:
                    self._check_rights(connection)
        except (sa.exc.DatabaseError, sa.exc.ArgumentError) as failure:
            reason = str(getattr(failure, "orig", failure)).strip().splitlines()[0]
            for secret in filter(None, (make_url(self.url).password, make_url(self.url).query.get("password"))):
                reason = reason.replace(str(secret), "***")
            if starved := lack(f"the database {self.name} does not answer: {reason}"):
                raise starved from None
            raise DatabaseUnavailable(
                f"The database {self.name} does not answer: {reason}\n"
                f"Start it, or correct {PREFIX}DATABASE_URL (unset it for the embedded PostgreSQL)."
            ) from None

    def _check_files(self) -> None:
        for file in self.sqlite_files:
            # SQLite makes files of its own beside this one.
            for place in (file.parent, *([file] if file.exists() else [])):
                if not os.access(place, os.W_OK):
                    raise DatabaseUnavailable(
                        f"The database {self.name} may only be read: {place} can't be written to.\n"
                        f"Correct its permissions, or name another file in {PREFIX}DATABASE_URL."
                    )

    def _check_rights(self, connection: sa.Connection) -> None:
        may = connection.execute(_WHAT_THE_ROLE_MAY).one()
        if may.only_read:
            raise DatabaseUnavailable(
                f"The database {self.name} may only be read: it is a standby, or it was set to read-only.\n"
                f"Make it writable, or name another in {PREFIX}DATABASE_URL."
            )
        if not may.make_tables:
            raise DatabaseUnavailable(
                f"The user {may.role} of the database {self.name} may not create the store's tables in it.\n"
                f'As its owner run: GRANT CREATE ON DATABASE "{may.database}" TO "{may.role}"; '
                f'GRANT USAGE, CREATE ON SCHEMA public TO "{may.role}"'
            )
        if 0 <= may.connections < CONNECTIONS_OF_A_STORE:
            raise DatabaseUnavailable(
                f"The user {may.role} of the database {self.name} may have {may.connections} connections, but a store "
                f"with its notebook needs {CONNECTIONS_OF_A_STORE}.\n"
                f'As its administrator run: ALTER ROLE "{may.role}" CONNECTION LIMIT {CONNECTIONS_OF_A_STORE}; '
                f'ALTER DATABASE "{may.database}" CONNECTION LIMIT -1'
            )

    def revived(self) -> "Database":
        """The same database after an outage: the embedded PostgreSQL is started again, if it does not run.

        Raises:
            DatabaseUnavailable: When it can't be started or written to, or not yet.
        """
        database = self if self.revive is None else self.revive()
        database.check()
        return database


def at_url(url: str, folder: Path | None = None) -> Database:
    """The database at a URL, as `WIDGET_STORE_DATABASE_URL` gives it.

    Args:
        url: The URL.
        folder: Where an SQLite file is when the URL gives no whole path; the current folder, if not given.

    Raises:
        DatabaseUnavailable: When it names no file, or one whose folder is missing.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _at_sqlite_file(parsed, folder or Path.cwd())
    name = without_password(parsed)
    parsed = parsed.set(drivername="postgresql+psycopg")
    full_url = parsed.render_as_string(hide_password=False)
    return Database(url=full_url, system_url=full_url, name=name)


def drop_database(server: Database, name: str) -> None:
    """Drop a database of a PostgreSQL server, if it is there, and end the sessions that this role has in it.

    Raises:
        psycopg.Error: When the role may not, or other roles have sessions in it.
    """
    drop = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    with server.connect() as connection:
        try:
            connection.execute(drop + sql.SQL(" WITH (FORCE)"))
        except psycopg.errors.InsufficientPrivilege:
            # Autovacuum is at work there. It has no role: with FORCE, only a superuser may end it (PostgreSQL 18).
            # Without, the server ends it by itself, but no session of ours.
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = %s AND usename = current_user",
                [name],
            )
            connection.execute(drop)


def without_password(url: URL) -> str:
    """A database's URL as it may be shown: a password is hidden wherever libpq lets it stand."""
    hidden = {name: "***" for name in ("password", "sslpassword") if name in url.query}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _at_sqlite_file(url: URL, folder: Path) -> Database:
    """Two files: DBOS's reset empties every table of the file it works on, and must not meet the store's."""
    if not url.database or url.database == ":memory:":
        raise DatabaseUnavailable("SQLite in memory would not survive a crash: name a file, sqlite:///store.sqlite")
    store_file = (folder / url.database).resolve()
    system_file = store_file.with_name(f"{store_file.stem}-dbos{store_file.suffix or '.sqlite'}")
    name = f"sqlite:///{store_file}"
    if not store_file.parent.is_dir():
        raise DatabaseUnavailable(f"The folder of {name} does not exist: make it, or correct {PREFIX}DATABASE_URL.")
    return Database(url=_sqlite_url(store_file), system_url=_sqlite_url(system_file), name=name)


def _sqlite_url(file: Path) -> str:
    return URL.create("sqlite", database=str(file)).render_as_string()
