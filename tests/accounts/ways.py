"""The ways in which an account tries to get at a store: each is a function that succeeds, or fails with an error.

Run as a program of its own, under the account that tries. It is told on its standard input all that an attacker can
find out, and more; it prints what came of each way. Run under the store's own account, the same ways succeed: so each
is a real try. `race` tries for the store's port without end, and answers in its place once it has it.
"""

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import resource
import signal
import socket
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Way = Callable[["Target"], str]
WAYS: dict[str, Way] = {}
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - looked into
_LISTENS, _REFUSED_AT_ONCE = "0A", 2.0
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_PTRACE_ATTACH, _PTRACE_DETACH, _PIDFD_OPEN, _PIDFD_GETFD = 16, 17, 434, 438
_NEVER_REACHED = "checkout_workflow/*.never/effect/after"
_BINDS = [
    (options, address)
    for options in ((), ("SO_REUSEADDR",), ("SO_REUSEPORT",), ("SO_REUSEADDR", "SO_REUSEPORT"))
    for address in ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1")  # noqa: S104 - what an attacker would try
]


class Refused(Exception):
    """This way is closed."""


class Target:
    """What the tries are made against: `told` is what the test knows of it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.port: int = told["port"]
        self.uid: int = told["uid"]
        self.pids: list[int] = told["pids"]
        self.data = Path(told["data"])
        self.files = [Path(file) for file in told["files"]]
        self.sockets = [Path(place) for place in told["sockets"]]
        self.left = [Path(place) for place in told["left"]]
        self.needles: list[str] = told["needles"]
        self.token: str = told["token"]
        self.signature: str = told["signature"]

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, str]:
        """The answer of the store; status 0 when it dies of the question."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionResetError):
                connection.request(
                    method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
                )
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            return 0, ""

    def needle_in(self, text: str) -> str:
        """Which of the secrets stands there."""
        for needle in self.needles:
            if needle in text:
                return "a secret"
        raise Refused("no secret in it")


def way(function: Way) -> Way:
    """Add a way to the table, under its name."""
    WAYS[function.__name__] = function
    return function


def any_of(places: list[Any], attempt: Callable[[Any], str]) -> str:
    """The first of these attempts that succeeds.

    Raises:
        Refused: When none does, with the reasons.
        LookupError: When there is nothing to try: then this is no try.
    """
    if not places:
        raise LookupError("nothing to try")
    reasons = set()
    for place in places:
        try:
            return attempt(place)
        except (OSError, Refused, sqlite3.Error) as failure:
            reasons.add(f"{type(failure).__name__}: {failure}"[:80])
    raise Refused("; ".join(sorted(reasons)[:3]))


def _read(file: Path) -> str:
    with file.open("rb") as content:
        return f"{len(content.read(100))} bytes of {file}"


def _list(folder: Path) -> str:
    return ", ".join(place.name for place in folder.iterdir()) or "(an empty folder)"


def _named(files: list[Path], *parts: str) -> list[Path]:
    return [file for file in files if any(part in str(file) for part in parts)]


# --- Files


@way
def list_the_data_folder(target: Target) -> str:
    """List the data folder."""
    return _list(target.data)


@way
def read_a_data_file(target: Target) -> str:
    """Read any file in the data folder, by its whole path."""
    return any_of(target.files, _read)


@way
def read_the_write_ahead_log(target: Target) -> str:
    """Read the changes on their way into the database."""
    return any_of(_named(target.files, "pg_wal/0", "-wal"), _read)


@way
def read_the_passwords_or_the_orders(target: Target) -> str:
    """Read the passwords of PostgreSQL, or the orders in SQLite's file."""
    return any_of(_named(target.files, "/passwords", ".sqlite"), _read)


@way
def read_a_log_or_a_lock(target: Target) -> str:
    """Read what the database has logged, and who uses it."""
    return any_of(_named(target.files, "/log", "lock", "postgres.users", "executor", ".ids", "-shm"), _read)


@way
def open_an_sqlite_file_as_a_database(target: Target) -> str:
    """Ask the files for their tables, by SQLite's own means."""

    def tables(file: Path) -> str:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as database:
            return str(database.execute("SELECT count(*) FROM sqlite_master").fetchone())

    return any_of(_named(target.files, ".sqlite"), tables)


@way
def leave_a_file_in_the_data_folder(target: Target) -> str:
    """Put a file into the data folder."""
    place = target.data / "left-by-another"
    place.touch(exist_ok=False)
    place.unlink()
    return str(place)


@way
def write_to_a_data_file(target: Target) -> str:
    """Open a file of the data folder for writing."""

    def write(file: Path) -> str:
        os.close(os.open(file, os.O_WRONLY | os.O_APPEND))
        return str(file)

    return any_of(target.files, write)


@way
def change_the_mode_of_the_data_folder(target: Target) -> str:
    """Give the data folder the mode that it has."""
    target.data.chmod(stat.S_IMODE(target.data.stat().st_mode))
    return "changed"


@way
def hold_a_lock_of_the_store(target: Target) -> str:
    """Lock a file of the store in common, as its users do: then it could neither be reset nor stopped."""

    def lock(file: Path) -> str:
        with file.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.lockf(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return str(file)

    return any_of([file for file in target.files if file.is_file() or not os.access(file.parent, os.X_OK)], lock)


@way
def read_what_lies_in_shared_folders(target: Target) -> str:
    """Read whatever the store's account has in /tmp, /var/tmp and /dev/shm."""

    def read(place: Path) -> str:
        return _list(place) if place.is_dir() else _read(place)

    return any_of(target.left, read)


@way
def put_something_into_a_shared_folder_of_the_store(target: Target) -> str:
    """Put a link into a folder that the store's account has in a shared one."""

    def put(place: Path) -> str:
        link = place / "laid-by-another"
        link.symlink_to("/etc/passwd")
        link.unlink()
        return str(link)

    return any_of([place for place in target.left if stat.S_ISDIR(place.lstat().st_mode)], put)


@way
def replace_a_shared_folder_of_the_store(target: Target) -> str:
    """Move a folder of the store in a shared one out of the way: what stands there then is somebody else's."""

    def move(place: Path) -> str:
        away = place.with_name(f"{place.name}-moved")
        place.rename(away)
        away.rename(place)
        return str(place)

    return any_of(target.left, move)


# --- PostgreSQL


@way
def connect_to_a_unix_socket(target: Target) -> str:
    """Connect to a socket of the store: its database's, or that of the process that forks its workers.

    Everybody may read the names of all Unix sockets.
    """
    lines = [line.split() for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:]]
    names = {words[7] for words in lines if len(words) > 7}
    ours = [name for name in names if any(str(place) in name for place in [target.data, *target.left])]

    def connect(name: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_REFUSED_AT_ONCE)
            client.connect(name)
        return name

    return any_of(ours, connect)


@way
def log_in_to_postgresql_without_a_password(target: Target) -> str:
    """Log in as every role, for as long as the socket lets anybody come so far."""
    import psycopg

    passwords = [str(file) for file in target.files if file.name == "passwords"]

    def log_in(place: Path) -> str:
        try:
            with psycopg.connect(host=str(place), user="widget_store", dbname="widget_store", passfile=passwords[0]):
                return "logged in"
        except psycopg.Error as refusal:
            raise Refused(str(refusal).splitlines()[0]) from None

    return any_of(target.sockets, log_in)


@way
def log_in_to_postgresql_as_its_superuser(target: Target) -> str:
    """Run a program as the store's account, by `COPY … FROM PROGRAM`."""
    import psycopg

    passwords = [str(file) for file in target.files if file.name == "passwords"]

    def run(place: Path) -> str:
        try:
            with psycopg.connect(host=str(place), user="postgres", dbname="postgres", passfile=passwords[0]) as server:
                server.execute("CREATE TEMP TABLE said (words text)")
                server.execute("COPY said FROM PROGRAM 'id -un'")
                return str(server.execute("SELECT words FROM said").fetchone())
        except psycopg.Error as refusal:
            raise Refused(str(refusal).splitlines()[0]) from None

    return any_of(target.sockets, run)


@way
def find_postgresql_on_a_tcp_port(target: Target) -> str:
    """Speak PostgreSQL to each port on which the store's account listens."""
    ports = list(_ports_of(target.uid))
    if target.port not in ports:
        raise LookupError(f"the store's own port is not among {ports}")

    def speak(port: int) -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=_REFUSED_AT_ONCE) as client:
            client.sendall(_SSL_REQUEST)
            if client.recv(1) in {b"S", b"N"}:
                return f"PostgreSQL on {port}"
        raise Refused(f"port {port} speaks something else")

    return any_of(ports, speak)


def _ports_of(uid: int) -> Iterator[int]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="utf-8").splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENS and int(words[7]) == uid:
                yield int(words[1].rpartition(":")[2], 16)


@way
def attach_its_shared_memory(target: Target) -> str:
    """Attach a segment of System V, as PostgreSQL has one."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    lines = [line.split() for line in Path("/proc/sysvipc/shm").read_text(encoding="utf-8").splitlines()[1:]]
    segments = [int(words[1]) for words in lines if int(words[7]) == target.uid]

    def attach(segment: int) -> str:
        read_only = 0o10000
        address = libc.shmat(segment, None, read_only)
        if address in {None, ctypes.c_void_p(-1).value}:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        libc.shmdt(ctypes.c_void_p(address))
        return f"segment {segment}"

    return any_of(segments, attach)


# --- HTTP


@way
def crash_over_http(target: Target) -> str:
    """Arm a crash point with whatever this account knows."""
    status, words = target.ask("POST", f"/crash_application?at={_NEVER_REACHED}", X_Crash_Token=target.token)
    if status != 202:
        raise Refused(f"{status}: {words}")
    return words


@way
def crash_over_http_without_a_token(target: Target) -> str:
    """Let the store die at once, with no token and with wrong ones."""
    for token in ("", "0", "null", "undefined", "token", "a" * 43):
        headers = {"X_Crash_Token": token} if token else {}
        if target.ask("POST", "/crash_application", **headers)[0] != 403:
            return f"crashed with {token!r}"
        if target.ask("POST", f"/crash_application?at={_NEVER_REACHED}&x_crash_token={token}", **headers)[0] != 403:
            return f"armed with {token!r}"
    raise Refused("403")


@way
def report_a_payment(target: Target) -> str:
    """Report a payment with whatever signature this account can make."""
    status, words = target.ask("POST", "/payment_webhook/nobody/paid", X_Widget_Signature=target.signature)
    if status == 401:
        raise Refused(words)
    return f"{status}: {words}"


@way
def find_a_secret_over_http(target: Target) -> str:
    """Look for the store's secrets in all that it answers."""
    pages = ("/", "/healthz", "/openapi.json", "/product", "/orders", "/static/storefront.js", "/static/index.html")
    answers = [target.ask("GET", page) for page in pages]
    if {status for status, _ in answers[:5]} != {200}:
        raise LookupError("it does not answer")
    return target.needle_in(str(answers))


@way
def bind_the_port_while_the_store_serves(target: Target) -> str:
    """Listen on the store's port, with every option and address."""
    return any_of(_BINDS, lambda bind: _bound(target.port, *bind)[1])


def _bound(port: int, options: tuple[str, ...], address: str) -> tuple[socket.socket, str]:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        if ":" in address:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener, f"listens on {address} with {options}"


# --- Processes


def _of_processes(name: str) -> Way:
    def read(target: Target) -> str:
        return any_of(
            [Path(f"/proc/{pid}/{name}") for pid in target.pids],
            lambda file: target.needle_in(file.read_bytes().decode(errors="replace")),
        )

    return read


WAYS["find_a_secret_in_the_list_of_processes"] = _of_processes("cmdline")
WAYS["find_a_secret_in_an_environment"] = _of_processes("environ")


@way
def see_the_arguments_of_its_processes(target: Target) -> str:
    """See how the store was started: it is no secret, and shows that the look for secrets looks at something."""

    def see(pid: int) -> str:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        if "serve" not in words:
            raise Refused("another")
        return words

    return any_of(target.pids, see)


@way
def read_the_memory_of_a_process(target: Target) -> str:
    """Open the memory of a process of the store."""
    return any_of([Path(f"/proc/{pid}/mem") for pid in target.pids], lambda file: f"{file.open('rb').close()}")


@way
def read_the_map_of_a_process(target: Target) -> str:
    """See where what lies in the memory of a process."""
    return any_of([Path(f"/proc/{pid}/maps") for pid in target.pids], _read)


@way
def open_the_files_of_a_process(target: Target) -> str:
    """Go through the files that a process has open: past the modes of the folders they are in."""

    def enter(pid: int) -> str:
        return _list(Path(f"/proc/{pid}/fd"))

    return any_of(target.pids, enter)


@way
def enter_the_current_folder_of_a_process(target: Target) -> str:
    """Go to where a process works: the database's works in its data."""
    return any_of(target.pids, lambda pid: _list(Path(f"/proc/{pid}/cwd")))


@way
def trace_a_process(target: Target) -> str:
    """Stop a process as a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)

    def attach(pid: int) -> str:
        if libc.ptrace(_PTRACE_ATTACH, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.waitpid(pid, 0x40000000)  # __WALL
        libc.ptrace(_PTRACE_DETACH, pid, None, None)
        return f"process {pid}"

    return any_of(target.pids, attach)


@way
def take_a_file_out_of_a_process(target: Target) -> str:
    """Take over an open file of a process: its listening socket, say."""
    libc = ctypes.CDLL(None, use_errno=True)

    def take(pid: int) -> str:
        process = libc.syscall(_PIDFD_OPEN, pid, 0)
        taken = libc.syscall(_PIDFD_GETFD, process, 0, 0)
        reason = ctypes.get_errno()
        os.close(process)
        if taken < 0:
            raise OSError(reason, os.strerror(reason))
        os.close(taken)
        return f"file 0 of process {pid}"

    return any_of(target.pids, take)


@way
def send_a_signal(target: Target) -> str:
    """Send a signal to a process; this one harms nobody who may not be sent any."""

    def send(pid: int) -> str:
        os.kill(pid, signal.SIGURG)
        return f"process {pid}"

    return any_of(target.pids, send)


@way
def slow_a_process_down(target: Target) -> str:
    """Make a process nicer than it is, by nothing."""

    def slow(pid: int) -> str:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))
        os.sched_setaffinity(pid, os.sched_getaffinity(pid))
        return f"process {pid}"

    return any_of(target.pids, slow)


@way
def take_the_files_from_a_process(target: Target) -> str:
    """Set the limit of a process: with no files, it would serve nobody."""

    def limit(pid: int) -> str:
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        return f"process {pid}"

    return any_of(target.pids, limit)


# --- The port, in the instant of a death


def race(port: int, foreign_pid: int) -> None:
    """Try for the port until standard input ends, as fast as can be. Once it is had, name a process to be killed."""
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    print("races", flush=True)
    tries = 0
    while not over.is_set():
        for bind in _BINDS:
            tries += 1
            with contextlib.suppress(OSError):
                listener, words = _bound(port, *bind)
                print(f"bound: {words} at try {tries}", flush=True)
                threading.Thread(target=lambda: (over.wait(), os._exit(0)), daemon=True).start()
                serve_falsely(listener, foreign_pid)
    print(f"not bound in {tries} tries", flush=True)


def serve_falsely(listener: socket.socket, pid: int) -> None:
    """Answer everything as a store would that lives in that process, until standard input ends."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            words = json.dumps({"status": "ok", "pid": pid, "executor_id": "worker-1", "crash_endpoint": True}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(words)))
            self.end_headers()
            self.wfile.write(words)

        do_POST = do_GET  # noqa: N815 - as http.server calls it

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    while True:
        connection, address = listener.accept()
        threading.Thread(target=Answer, args=(connection, address, None), daemon=True).start()


def serve_false_health(foreign_pid: int) -> None:
    """Answer in a store's place on a port of one's own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
        serve_falsely(listener, foreign_pid)


def main() -> None:
    """Try every way; print a line of JSON: for each, whether it succeeded, and the words that say how or why not."""
    match sys.argv[1:]:
        case ["race", port, pid]:
            race(int(port), int(pid))
        case ["serve", pid]:
            serve_false_health(int(pid))
        case names:
            target = Target(json.load(sys.stdin))
            found: dict[str, tuple[bool | None, str]] = {}
            for name in names or WAYS:
                try:
                    found[name] = (True, WAYS[name](target))
                except (OSError, Refused) as failure:
                    found[name] = (False, f"{type(failure).__name__}: {failure}")
                except Exception as failure:  # noqa: BLE001 - no try at all: the test says so
                    found[name] = (None, f"{type(failure).__name__}: {failure}")
            print(json.dumps(found))


if __name__ == "__main__":
    main()
