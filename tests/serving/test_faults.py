"""Faults that are no crashes of ours: what the database, the disk and the network do to a store that lives.

After each, the store sells again by itself, its books balance, and nobody was left without an answer or an error.
"""

import asyncio
import contextlib
import resource
import socket
import sqlite3
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy.engine import make_url

from tests.crowds import customers
from tests.support import Books, Serving, cut_connections, eventually, new_key, serving
from widget_store.databases import (
    Database,
    at_url,
    has_embedded_postgres,
    open_database,
    programs,
    server_pid,
    superuser,
)
from widget_store.errors import DatabaseUnavailable
from widget_store.middleware import NeverSilent
from widget_store.settings import Settings

pytestmark = pytest.mark.slow("breaks a store's database while customers buy")
needs_embedded = pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL on this platform")
IMPATIENT = {"WIDGET_STORE_PAYMENT_TIMEOUT": "3"}


@pytest.fixture
def own_server(data_dir: Path) -> Iterator[Database]:
    """An embedded PostgreSQL of one's own, to be broken."""
    with open_database(Settings(data_dir=data_dir, database_url=None)) as database:
        yield database


def said(store: Serving, words: str, times: int = 1) -> None:
    eventually(lambda: store.output.read_text().count(words) >= times, f"a store that says {words!r}")


# --- the database goes away


def stop_at_once(data_dir: Path) -> None:
    """`pg_ctl stop -m immediate`: the server ends as in a crash, and recovers from its log at its next start."""
    pid = server_pid(data_dir / "postgres")
    assert pid is not None
    # Not with -w: that waits for as long as there is a server, also for one that a store has started again meanwhile.
    programs.run("pg_ctl", "-D", data_dir / "postgres", "-m", "immediate", "-W", "stop")
    eventually(lambda: not psutil.pid_exists(pid), "the end of the server")


@needs_embedded
def test_an_embedded_server_that_is_stopped_is_started_again(
    public_folder: Path, data_dir: Path, own_server: Database
) -> None:
    with (
        serving(public_folder, WIDGET_STORE_DATA_DIR=str(data_dir), **IMPATIENT) as store,
        customers(store, own_server),
    ):
        stop_at_once(data_dir)
        said(store, "The database is back.")


@needs_embedded
def test_a_server_that_somebody_stops_and_starts_is_waited_for(
    public_folder: Path, data_dir: Path, own_server: Database
) -> None:
    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=own_server.url, **IMPATIENT) as store,
        customers(store, own_server),
    ):
        stop_at_once(data_dir)
        said(store, "The database is lost")
        own_server.revived()
        said(store, "The database is back.")


def test_connections_that_are_cut_again_and_again_are_made_again(
    public_folder: Path, new_database: Callable[[str], Database]
) -> None:
    database = new_database("postgresql")
    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url, **IMPATIENT) as store,
        customers(store, database) as crowd,
    ):
        for cut in range(1, 4):
            cut_connections(database)
            said(store, "The database is back.", times=cut)
            before = crowd.checkouts
            eventually(lambda before=before: crowd.checkouts > before, "a checkout between two cuts")  # type: ignore[misc]


# --- the disk is full, or may not be written to


@pytest.fixture
def small_disk(public_folder: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = public_folder / new_key()
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=777", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk, and here not even root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def database_on_small_disk(own_server: Database, small_disk: Path) -> Iterator[Database]:
    """Its tables are on the small disk; the server's own log is not, as a server that can't write that ends."""
    url = make_url(own_server.url)
    tablespace = small_disk / "tablespace"
    tablespace.mkdir()
    subprocess.run(["chown", f"--reference={own_server.server_folder}", tablespace], check=True)
    with superuser(own_server).connect() as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{tablespace}'".encode())
        connection.execute("CREATE DATABASE small OWNER widget_store TABLESPACE small")
        yield at_url(url.set(database="small").render_as_string(hide_password=False))
        connection.execute("DROP DATABASE small WITH (FORCE)")
        connection.execute("DROP TABLESPACE small")


def fill(disk: Path) -> Path:
    """Take all the room that is left; the file to remove to give it back."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return filler


@needs_embedded
def test_a_full_disk_of_postgresql_is_waited_for(
    public_folder: Path, data_dir: Path, small_disk: Path, database_on_small_disk: Database
) -> None:
    database = database_on_small_disk
    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url, **IMPATIENT) as store,
        customers(store, database),
    ):
        filler = fill(small_disk)
        log = data_dir / "postgres" / "log"
        eventually(lambda: "No space left on device" in log.read_text(), "a write for which there is no room")
        filler.unlink()


def test_a_postgresql_that_may_only_be_read_is_waited_for(
    public_folder: Path, postgresql: Database, new_database: Callable[[str], Database]
) -> None:
    """As after a failover, when the new server is not yet the one to write to. New sessions notice: cut the old."""
    database = new_database("postgresql")
    name = make_url(database.url).database
    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url, **IMPATIENT) as store,
        customers(store, database),
        postgresql.connect() as connection,
    ):
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        cut_connections(database)
        said(store, "The database is lost")
        with pytest.raises(DatabaseUnavailable, match="may only be read"):
            database.check()
        refused = time.monotonic() + 5.0  # longer than five starts of a worker that gives up at once
        eventually(lambda: time.monotonic() > refused, "five seconds of a database that may only be read")
        assert "The database is back." not in store.output.read_text()
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
        said(store, "The database is back.")


@needs_embedded
def test_a_postgresql_that_refuses_writes_without_a_word_is_waited_for(
    public_folder: Path, data_dir: Path, own_server: Database
) -> None:
    """Its sessions stay: the store's workers meet it at a step."""
    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=own_server.url, **IMPATIENT) as store,
        customers(store, own_server),
        superuser(own_server).connect() as connection,
    ):
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        log = data_dir / "postgres" / "log"
        eventually(lambda: "in a read-only transaction" in log.read_text(), "a write that is refused")
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")


def test_a_disk_that_refuses_the_writes_of_sqlite_is_waited_for(
    public_folder: Path, new_database: Callable[[str], Database]
) -> None:
    """The system lets the store's process make no file any longer: as root too, whom no permission stops."""
    database = new_database("sqlite")
    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url, **IMPATIENT) as store,
        customers(store, database) as crowd,
    ):
        worker = store.worker()
        if not hasattr(worker, "rlimit"):
            pytest.skip("only Linux lets one process limit another")
        before = worker.rlimit(psutil.RLIMIT_FSIZE)
        worker.rlimit(psutil.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        stands = crowd.checkouts
        refused = time.monotonic() + 5.0
        eventually(lambda: time.monotonic() > refused, "five seconds without a disk to write to")
        assert crowd.checkouts <= stands + 4, "nothing can be sold without a disk, but for what was sold already"
        worker.rlimit(psutil.RLIMIT_FSIZE, before)


# --- another program writes to SQLite's files


@pytest.mark.parametrize("which", ["url", "system_url"])
def test_a_lock_on_sqlite_s_file_is_waited_for(
    public_folder: Path, new_database: Callable[[str], Database], which: str
) -> None:
    database = new_database("sqlite")
    key = new_key()
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url) as store, ThreadPoolExecutor(1) as thread:
        file = make_url(getattr(database, which)).database
        with contextlib.closing(sqlite3.connect(str(file), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            purchase = thread.submit(store.buy, key)
            with pytest.raises(TimeoutError):
                purchase.result(timeout=10)
            other.execute("ROLLBACK")
        assert (purchase.result().status_code, purchase.result().text) == (200, key)
        assert store.pay(key).status_code == 200
        assert Books(database).violations() == []


# --- the network


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_payment_whose_reporter_hangs_up_is_taken_once(store: Serving, books: Books, how: str) -> None:
    key = new_key()
    store.buy(key)
    with socket.create_connection(("127.0.0.1", store.port)) as reporter:
        reporter.sendall(f"POST /payment_webhook/{key}/paid HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        eventually(partial(was_paid, books, key), "a payment that is taken")
        if how == "resets":
            reporter.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    first, again = store.pay(key), store.pay(key)
    assert (first.status_code, again.status_code, first.text) == (200, 200, again.text)
    messages = books.system("SELECT count(*) FROM {dbos}notifications WHERE destination_uuid = :key", key=key)
    assert messages == [(1,)]


def was_paid(books: Books, key: str) -> bool:
    return bool(books.system("SELECT 1 FROM {dbos}notifications WHERE destination_uuid = :key", key=key))


# --- never silence


def test_an_endpoint_that_waits_for_too_long_is_answered_for() -> None:
    async def waits(_scope: object, _receive: object, _send: object) -> None:
        await asyncio.Event().wait()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(NeverSilent(waits, within=0.1))
        async with httpx.AsyncClient(transport=transport, base_url="http://store") as client:
            return await client.get("/product")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"detail": "The database does not answer: try again."}


def test_while_the_database_is_away_the_answer_is_503(
    public_folder: Path, new_database: Callable[[str], Database]
) -> None:
    """It says what to do, and no traceback is printed. The supervisor, which would end the worker, is held back."""
    database = new_database("postgresql")
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url) as store:
        supervisor = psutil.Process(store.process.pid)
        supervisor.suspend()
        try:
            assert store.client.get("/product").status_code == 200  # so there is a connection to be cut
            cut_connections(database)
            answer = store.client.get("/product")
        finally:
            supervisor.resume()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"detail": "The database does not answer: try again."}
        said(store, "The database is back.")
        assert "Traceback" not in store.output.read_text()
