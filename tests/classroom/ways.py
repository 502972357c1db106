"""The ways in which one seat of a workshop tries to get at another: each is a function that succeeds, or fails.

`inside.py` tries them, in a seat.
"""

import contextlib
import ctypes
import http.client
import os
import pickle
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

Target = dict[str, Any]
Way = Callable[[Target], object]
WAYS: dict[str, Way] = {}
MARK = "left by the victim"
LEFT = [Path(folder, "left-by-the-victim") for folder in ("/tmp", "/var/tmp", "/dev/shm")]  # noqa: S108
ABSTRACT = "\0left-by-the-victim"
_AT_ONCE = 5.0
CREATE, _READ_ONLY, _PTRACE_ATTACH, _PTRACE_DETACH, _NEW_NETWORK = 0o1000, 0o10000, 16, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p


class Refused(Exception):
    """This way is closed."""


def way(function: Way) -> Way:
    """Add a way to the table, under its name."""
    WAYS[function.__name__] = function
    return function


def checked(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# --- Read


@way
def list_its_home(it: Target) -> object:
    """List the home folder."""
    return list(Path(it["home"]).iterdir())


@way
def read_its_lesson(it: Target) -> object:
    """Read a lesson, by its whole path."""
    return Path(it["lesson"]).read_bytes()[:20]


@way
def read_what_it_left_in_shared_folders(_: Target) -> object:
    """Read files that everybody may read, in /tmp, /var/tmp and /dev/shm."""
    for place in LEFT:
        with contextlib.suppress(OSError):
            assert place.read_text() == MARK
            return place
    raise Refused("not there")


@way
def attach_its_shared_memory(it: Target) -> object:
    """Attach a segment of System V that everybody may attach."""
    address = libc.shmat(it["segment"], None, _READ_ONLY)
    if address in {None, ctypes.c_void_p(-1).value}:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    assert ctypes.string_at(address, len(MARK)) == MARK.encode()
    return address


@way
def see_its_processes(it: Target) -> object:
    """See what runs in the other seat, with its arguments."""
    return [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in it["pids"]]


@way
def read_its_environment(it: Target) -> object:
    """Find its database's password in an environment."""
    return [Path(f"/proc/{pid}/environ").read_bytes() for pid in it["pids"]]


@way
def read_its_memory(it: Target) -> object:
    """Open the memory of one of its processes."""
    with Path(f"/proc/{it['pids'][0]}/mem").open("rb") as memory:
        return memory.fileno()


@way
def log_in_to_its_database(it: Target) -> object:
    """Connect to its database, as one's own role."""
    return sql(it["database"], "SELECT count(*) FROM orders")


@way
def log_in_as_its_role(it: Target) -> object:
    """Connect as its role, with the one password that this seat knows."""
    return sql(it["database"], "SELECT 1", user=it["database"])


@way
def copy_its_database(it: Target) -> object:
    """Make a copy of its database."""
    copy = f"copied_by_{os.getuid()}"
    sql(None, f"CREATE DATABASE {copy} TEMPLATE {it['template']}")
    return sql(None, f"DROP DATABASE {copy}")


@way
def read_the_secrets_of_the_workshop(it: Target) -> object:
    """Read any of the workshop's own files."""
    for place in it["secrets"]:
        with contextlib.suppress(OSError):
            return Path(place).read_bytes()[:10]
    raise Refused("none can be read")


@way
def read_the_files_of_the_database(it: Target) -> object:
    """List the folder of the class's PostgreSQL."""
    return list(Path(it["cluster"]).iterdir())


# --- Buy


@way
def buy_at_its_port(it: Target) -> object:
    """Buy at 127.0.0.1, where its store listens."""
    return _post("127.0.0.1", it["port"], "/checkout/by-another")


@way
def restock_at_its_address(it: Target) -> object:
    """Reach its store, or its Jupyter, at the address of its network."""
    for port in (it["port"], it["jupyter"]):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return _get(it["address"], port, "/")
    raise Refused("no answer")


@way
def reach_its_server_through_the_hub(it: Target) -> object:
    """Ask the Hub about the other seat, with this seat's own token."""
    return _hub(f"/hub/api/users/{it['seat']}", it["api"])


@way
def connect_to_its_abstract_socket(_: Target) -> object:
    """Connect to a socket without a file, which knows no permissions."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_AT_ONCE)
        client.connect(ABSTRACT)
    return "connected"


@way
def enter_its_network(it: Target) -> object:
    """Enter its network namespace."""
    for place in (f"/proc/{it['pids'][0]}/ns/net", f"/run/netns/{it['seat']}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(place, os.O_RDONLY)
            checked(libc.setns(descriptor, _NEW_NETWORK))
            return place
    raise Refused("not permitted")


# --- Kill


@way
def kill_its_processes(it: Target) -> object:
    """Send a signal to one of its processes: one that does no harm."""
    os.kill(it["spare"], signal.SIGWINCH)
    return "sent"


@way
def trace_its_processes(it: Target) -> object:
    """Take one of its processes over, as a debugger does."""
    checked(libc.ptrace(_PTRACE_ATTACH, it["spare"], None, None))
    os.waitpid(it["spare"], 0)
    return checked(libc.ptrace(_PTRACE_DETACH, it["spare"], None, None))


@way
def change_the_priority_of_its_processes(it: Target) -> object:
    """Slow its store down."""
    os.setpriority(os.PRIO_PROCESS, it["spare"], 5)
    return "slowed down"


@way
def lower_the_limits_of_its_processes(it: Target) -> object:
    """Take open files from its store."""
    return resource.prlimit(it["spare"], resource.RLIMIT_NOFILE, (512, 512))


@way
def end_its_sessions(it: Target) -> object:
    """End what its role does in PostgreSQL."""
    seen = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = '{}' AND pid <> pg_backend_pid()"
    rows = sql(None, seen.format(it["database"]))
    if not rows:
        raise LookupError("it has no session to end")
    return rows


@way
def drop_its_database(it: Target) -> object:
    """Drop a database of its own."""
    return sql(None, f"DROP DATABASE {it['template']}")


@way
def crash_its_store(it: Target) -> object:
    """Press the crash button of its store, with its token."""
    status = _post("127.0.0.1", it["port"], "/crash_application?at=checkout_workflow/*.never/effect/after", it["token"])
    if status != 202:
        raise Refused(status)
    return status


# --- Unpickle


@way
def put_a_pickle_into_its_database(it: Target) -> object:
    """Write what one of its workflows returned: reading it would run code as its owner."""
    harm = pickle.dumps("harm").hex()
    update = "UPDATE dbos.workflow_status SET output = '{}' WHERE workflow_uuid = 'nobody' RETURNING 1"
    return sql(it["database"], update.format(harm)) is not None


@way
def put_a_file_into_its_home(it: Target) -> object:
    """Leave a file that its next kernel runs."""
    place = Path(it["home"], ".ipython", "profile_default", "startup", "harm.py")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    place.unlink()
    return place


@way
def change_the_kit_or_its_python(it: Target) -> object:
    """Change what all seats run."""
    for place in it["common"]:
        with contextlib.suppress(OSError):
            Path(place, "harm.py").touch(exist_ok=False)
            return place
    raise Refused("nothing can be written to")


@way
def become_it(it: Target) -> object:
    """Take its user id."""
    os.setresuid(it["uid"], it["uid"], it["uid"])
    return "became it"


@way
def see_the_host_under_its_temporary_folders(_: Target) -> object:
    """Take away what hides the machine's own /tmp."""
    return checked(libc.umount2(b"/tmp", 2))


@way
def leave_its_limits(_: Target) -> object:
    """Move into a group without limits, or raise one."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _number, controllers, place = line.split(":", 2)
        top = Path("/sys/fs/cgroup", controllers)
        for file, text in ((top / "cgroup.procs", str(os.getpid())), (Path(f"{top}{place}") / "pids.max", "max")):
            with contextlib.suppress(OSError):
                file.write_text(text)
                return file
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as refusal:
        raise Refused(refusal) from None
    return "raised"


def sql(database: str | None, statement: str, user: str | None = None) -> Any:
    import psycopg
    from sqlalchemy.engine import make_url

    own = make_url(os.environ["WIDGET_STORE_DATABASE_URL"])
    host, password = str(own.query["host"]), str(own.password)
    try:
        with psycopg.connect(
            host=host, user=user or own.username, password=password, dbname=database or own.database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
    except psycopg.Error as refusal:
        raise Refused(str(refusal).splitlines()[0]) from None


def _get(host: str, port: int, path: str, **headers: str) -> int:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=_AT_ONCE)) as connection:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def _post(host: str, port: int, path: str, token: str = "") -> int:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=_AT_ONCE)) as connection:
        connection.request("POST", path, headers={"X-Crash-Token": token})
        return connection.getresponse().status


def _hub(path: str, port: int) -> int:
    """Ask with this seat's own token."""
    host = os.environ["JUPYTERHUB_API_URL"].split("/")[2].partition(":")[0]
    status = _get(host, port, path, Authorization=f"token {os.environ['JUPYTERHUB_API_TOKEN']}")
    if status != 200:
        raise Refused(status)
    return status
