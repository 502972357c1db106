"""A database for each run of a crash test: a copy of one that has everything made and nothing in it.

On PostgreSQL it is a database of its own on one server, made with `CREATE DATABASE … TEMPLATE`. That server is the one
of the settings; without one, it is an embedded PostgreSQL of this process, which need not survive a power cut. On
SQLite it is a copy of two files.
"""

import atexit
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from widget_store.databases import (
    Database,
    at_url,
    drop_database,
    has_embedded_postgres,
    open_database,
)
from widget_store.databases.embedded import crash_embedded_postgres, embedded_postgres
from widget_store.errors import DatabaseUnavailable, Starved
from widget_store.settings import PREFIX, Settings
from widget_store.system.interrupts import OUT_OF_REACH
from widget_store.system.limits import no_space

_ALONE_WITHIN_SECONDS = 10
_BACK_WITHIN_SECONDS = 30
_ROOM_TO_GROW_BYTES = 16 * 1000**2  # a file of PostgreSQL's log; a copy of the template is 10 MB
_IN_MEMORY, _ROOM_BYTES = "/dev/shm", 2 * 1024**3  # noqa: S108 - the files are in a private folder there


class Databases(Protocol):
    """Where the databases of a crash test come from."""

    name: str
    folder: Path
    """For what else belongs to the crash test; gone with its databases."""

    def template(self) -> contextlib.AbstractContextManager[Database]:
        """An empty database, to be filled in the block: of this one, the copies are made."""

    def copy(self) -> contextlib.AbstractContextManager[Database]:
        """A copy of the template, gone after the block.

        Raises:
            Starved: When there is no room for it.
        """

    def crash(self) -> None:
        """Let the database server crash, and wait until it is back: all connections are lost, and nothing committed.

        Raises:
            DatabaseUnavailable: When there is no server, or it is somebody else's.
        """

    def check_room(self) -> None:
        """Make sure that the databases can grow: a store waits for a full disk, and a crash test has no time to.

        Raises:
            Starved: When they can't.
        """


@contextlib.contextmanager
def open_databases(settings: Settings) -> Iterator[Databases]:
    """Databases of the kind that the settings name; all of them are gone after the block.

    Raises:
        DatabaseUnavailable: When the server does not answer, or lets nobody make databases.
    """
    url = settings.database_url
    if (url is not None and make_url(url).get_backend_name() == "sqlite") or (
        url is None and not has_embedded_postgres()
    ):
        with _scratch_folder() as folder:
            yield _SQLiteFiles(folder)
        return
    with contextlib.ExitStack() as stack:
        if url is None:
            databases = _OnServer(*_own_server.running())
        else:
            server = stack.enter_context(open_database(settings))
            databases = _OnServer(server, stack.enter_context(_scratch_folder()))
        stack.callback(databases.drop_all)
        yield databases


class _OwnServer:
    """An embedded PostgreSQL for the crash tests of this process, started for the first and kept for the next.

    In a notebook there are many small ones, and a start takes longer than such a test.
    """

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._resources = contextlib.ExitStack()
        self._server: Database | None = None
        self._folder = Path()

    def running(self) -> tuple[Database, Path]:
        """The server, and the folder that it is in; it is started if it does not run."""
        with self._one_at_a_time:
            if self._server is not None:
                with contextlib.suppress(DatabaseUnavailable, Starved):
                    self._server.check()
                    return self._server, self._folder
                self._close()
            with contextlib.ExitStack() as stack:
                folder = stack.enter_context(_scratch_folder())
                server = stack.enter_context(embedded_postgres(folder, hurry=True))
                self._resources, self._server, self._folder = stack.pop_all(), server, folder
            return server, folder

    def close(self) -> None:
        """Stop the server and delete its files, if there is one."""
        with self._one_at_a_time:
            self._close()

    def _close(self) -> None:
        self._server = None
        self._resources.close()


_own_server = _OwnServer()
stop_own_server = _own_server.close
"""Stop the PostgreSQL of this process's crash tests now; at the latest it is stopped when the process ends."""
atexit.register(stop_own_server)


@contextlib.contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A folder for a crash test's databases, in memory if there is room; gone after the block or with us."""
    name = tempfile.TemporaryDirectory(prefix="crash-test-", dir=roomy_memory(), ignore_cleanup_errors=True)
    with name as folder, _cleared_away_in_any_case(Path(folder)):
        yield Path(folder)


@contextlib.contextmanager
def _cleared_away_in_any_case(folder: Path) -> Iterator[None]:
    """Have a process wait for the end of this one: should it be killed, its server and its files do not stay."""
    program = str(Path(__file__).with_name("clear_away.py"))
    command = [sys.executable, "-I", "-S", program, str(folder), get_temp_dir()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, **OUT_OF_REACH) as beside:  # leaving it ends its input
        try:
            yield
        finally:
            if beside.stdin is not None:
                with contextlib.suppress(OSError), beside.stdin:  # it was killed, perhaps for want of memory
                    beside.stdin.write(b"in good order")


class _SQLiteFiles:
    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._template = self._at("template")

    @contextlib.contextmanager
    def template(self) -> Iterator[Database]:
        yield self._template

    def crash(self) -> None:
        raise DatabaseUnavailable("SQLite has no server that could crash: test with PostgreSQL.")

    def check_room(self) -> None:
        _check_room(self.folder)

    @contextlib.contextmanager
    def copy(self) -> Iterator[Database]:
        self.check_room()
        database = self._at(uuid4().hex)
        for original, copy in zip(self._template.sqlite_files, database.sqlite_files, strict=True):
            with contextlib.ExitStack() as both:
                source, target = (
                    both.enter_context(contextlib.closing(sqlite3.connect(file))) for file in (original, copy)
                )
                source.backup(target)
        try:
            yield database
        finally:
            for file in database.sqlite_files:
                for leftover in self.folder.glob(f"{file.name}*"):
                    leftover.unlink(missing_ok=True)

    def _at(self, name: str) -> Database:
        return at_url(f"sqlite:///{name}.sqlite", self.folder)


class _OnServer:
    name = "PostgreSQL"

    def __init__(self, server: Database, folder: Path) -> None:
        self._server = server
        self.folder = folder
        self._prefix = f"crash_test_{uuid4().hex[:8]}"

    @contextlib.contextmanager
    def template(self) -> Iterator[Database]:
        self._create(f"{self._prefix}_template", "template0")
        yield self._at(f"{self._prefix}_template")
        self._wait_until_nobody_uses(f"{self._prefix}_template")

    def crash(self) -> None:
        if self._server.server_folder is None:
            raise DatabaseUnavailable(f"{self._server.name} is not ours to crash: unset {PREFIX}DATABASE_URL.")
        crash_embedded_postgres(self._server.server_folder)
        deadline = time.monotonic() + _BACK_WITHIN_SECONDS
        while True:
            try:
                self._server.check()
                return
            except DatabaseUnavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def check_room(self) -> None:
        if self._server.server_folder is not None:  # of another server, only it knows
            _check_room(self._server.server_folder)

    @contextlib.contextmanager
    def copy(self) -> Iterator[Database]:
        self.check_room()
        name = f"{self._prefix}_{uuid4().hex}"
        self._create(name, f"{self._prefix}_template")
        try:
            yield self._at(name)
        finally:
            drop_database(self._server, name)

    def drop_all(self) -> None:
        with self._server.connect() as connection:
            ours = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{self._prefix}%"])
            for (name,) in ours.fetchall():
                drop_database(self._server, str(name))

    def _create(self, name: str, template: str) -> None:
        new, like = sql.Identifier(name), sql.Identifier(template)
        with self._server.connect() as connection:
            try:
                connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(new, like))
                # A class may share the server. PostgreSQL lets every role connect to a new database.
                connection.execute(sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(new))
            except psycopg.errors.InsufficientPrivilege as refusal:
                raise DatabaseUnavailable(
                    f"A crash test makes a database for each run, and may not: {str(refusal).strip()}\n"
                    f"Give the user of {self._server.name} the right to (ALTER ROLE … CREATEDB), or unset "
                    f"{PREFIX}DATABASE_URL."
                ) from None

    def _wait_until_nobody_uses(self, name: str) -> None:
        """A database that somebody is connected to can't be copied; a killed process's sessions end a moment later."""
        deadline = time.monotonic() + _ALONE_WITHIN_SECONDS
        with self._server.connect() as connection:
            while connection.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", [name]).fetchone():
                if time.monotonic() > deadline:
                    raise DatabaseUnavailable(f"The database {name} is still in use: try again.")
                time.sleep(0.02)

    def _at(self, name: str) -> Database:
        return at_url(make_url(self._server.url).set(database=name).render_as_string(hide_password=False))


def _check_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _ROOM_TO_GROW_BYTES:
        raise no_space(folder, f"a run of the crash test needs {_ROOM_TO_GROW_BYTES // 1000**2} MB")


def roomy_memory() -> str | None:
    """Where files are kept in memory, if there is room: making and deleting a database's 300 is a quarter of a run."""
    if "TMPDIR" in os.environ or not os.access(_IN_MEMORY, os.W_OK):
        return None
    return _IN_MEMORY if shutil.disk_usage(_IN_MEMORY).free > _ROOM_BYTES else None
