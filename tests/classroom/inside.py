"""What runs in a seat for the tests: the victim, the tries to get at it, and some simple things.

Run as a program, in a seat's namespaces and under its account. `victim` starts a store, leaves things in the folders
that all accounts share, and tells where all of it is. `try` is told that on its standard input, tries every way of
`ways.py`, and prints what came of each. Tried by the victim's own seat, the same ways succeed: so each is a real try.
"""

import ctypes
import http.client
import json
import os
import socket
import sys
import threading

from tests.classroom.ways import ABSTRACT, CREATE, LEFT, MARK, WAYS, Refused, Target, Way, checked, libc, sql


def victim() -> None:
    """Start a store, leave something everywhere, and tell where it is; end with standard input."""
    import subprocess

    import psutil

    from widget_store.databases import Database, at_url
    from widget_store.lab.store import Store

    os.umask(0)
    for place in LEFT:
        place.write_text(MARK)
    segment = checked(libc.shmget(0, 4096, CREATE | 0o666))
    ctypes.memmove(libc.shmat(segment, None, 0), MARK.encode(), len(MARK))
    database: Database = at_url(os.environ["WIDGET_STORE_DATABASE_URL"])
    role = database.url.partition("://")[2].partition(":")[0]
    with (
        socket.socket(socket.AF_UNIX) as listener,
        subprocess.Popen(["sleep", "600"]) as spare,
        Store.fresh(payment_timeout=60, dispatch_interval=0) as store,
        database.connect() as connection,
    ):
        listener.bind(ABSTRACT)
        listener.listen()
        connection.execute(f"CREATE DATABASE template_{role}".encode())
        store.wait_until_dispatched(store.pay(store.buy()))
        about = {
            "port": int(store.url.rpartition(":")[2]),
            "token": store.crash_token,
            "pids": [os.getpid(), *(each.pid for each in psutil.Process().children(recursive=True))],
            "spare": spare.pid,
            "segment": segment,
            "uid": os.getuid(),
            "database": role,
            "template": f"template_{role}",
        }
        print(json.dumps(about), flush=True)
        for _ in sys.stdin:  # each line asks
            print(json.dumps(store.product()["inventory"]), flush=True)
        spare.kill()


def sell() -> None:
    """Sell one widget in a store that is new."""
    from widget_store.lab.store import Store

    with Store.fresh(payment_timeout=60, dispatch_interval=0) as store:
        store.wait_until_dispatched(store.pay(store.buy()))


def attempt(names: list[str]) -> None:
    """Try ways, each in a process of its own; print for each whether it succeeded, and how or why not."""
    target: Target = json.load(sys.stdin)
    found: dict[str, tuple[bool | None, str]] = {}
    for name in names or WAYS:
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.write(writer, json.dumps(_outcome(WAYS[name], target)).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as said:
            found[name] = json.loads(said.read() or '[null, "it died"]')
        os.waitpid(pid, 0)
    print(json.dumps(found))


def _outcome(function: Way, target: Target) -> tuple[bool | None, str]:
    try:
        return True, str(function(target))[:200]
    except (OSError, Refused, http.client.HTTPException) as failure:
        return False, f"{type(failure).__name__}: {failure}"
    except Exception as failure:  # noqa: BLE001 - no try at all: the test says so
        return None, f"{type(failure).__name__}: {failure}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["victim"]:
            victim()
        case ["take", megabytes]:
            print(len(bytearray(os.urandom(1000)) * (1000 * int(megabytes))))
        case ["start", number]:
            threads = [threading.Thread(target=threading.Event().wait, args=[1]) for _ in range(int(number))]
            for thread in threads:
                thread.start()
            print(len(threads))
        case ["sell"]:
            sell()
        case ["orders"]:
            print(sql(None, "SELECT count(*) FROM orders")[0][0])
        case _:
            attempt(sys.argv[2:])
