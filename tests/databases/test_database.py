"""Where the data lives: the embedded PostgreSQL that comes and goes with its users, and servers that fail."""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fasteners
import psutil
import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support import (
    DISPATCHED,
    NEVER_ANSWERS,
    PATIENCE_SECONDS,
    Books,
    command,
    environment,
    eventually,
    lives,
    new_key,
    serving,
    starting,
)
from widget_store.cli import main
from widget_store.databases import (
    Database,
    at_url,
    drop_database,
    has_embedded_postgres,
    open_database,
    server_pid,
    superuser,
)
from widget_store.databases.embedded import embedded_postgres
from widget_store.databases.throwaway import open_databases
from widget_store.errors import DatabaseUnavailable
from widget_store.settings import Settings
from widget_store.system.windows import AS_ON_WINDOWS

_SSL_REQUEST = bytes.fromhex("04d2162f")
pytestmark = pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL on this platform")


@pytest.mark.slow("starts two stores and a database")
def test_stores_share_an_embedded_server_and_the_last_one_stops_it(public_folder: Path, data_dir: Path) -> None:
    with serving(public_folder, WIDGET_STORE_DATA_DIR=str(data_dir)) as first:
        server = psutil.Process(server_pid(data_dir / "postgres"))
        with serving(public_folder, WIDGET_STORE_DATA_DIR=str(data_dir)) as second:
            first.buy("key")
            assert second.pay("key").status_code == 200
            assert command("stop-database", WIDGET_STORE_DATA_DIR=str(data_dir)).returncode == 1
            first.stop()
            assert server.is_running()
            assert second.client.get("/orders").json()[0]["order_id"] == 1
        eventually(lambda: not lives(server), "the end of the server")


@pytest.mark.slow("starts stores and a database")
def test_a_store_that_is_killed_does_not_keep_the_server_and_loses_nothing(public_folder: Path, data_dir: Path) -> None:
    with serving(public_folder, WIDGET_STORE_DATA_DIR=str(data_dir)) as store:
        server = psutil.Process(server_pid(data_dir / "postgres"))
        store.buy("key")
        family = store.family()
        store.process.kill()
        psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    eventually(lambda: not lives(server), "the end of a server that nobody uses")

    with serving(public_folder, WIDGET_STORE_DATA_DIR=str(data_dir)) as store:
        assert store.pay("key").text == "1"


@pytest.mark.slow("starts a store and a database, twice")
def test_a_store_starts_its_embedded_server_again_when_that_was_killed(public_folder: Path, data_dir: Path) -> None:
    with serving(public_folder, WIDGET_STORE_DATA_DIR=str(data_dir)) as store:
        store.buy("key")
        killed = psutil.Process(server_pid(data_dir / "postgres"))
        killed.kill()
        eventually(lambda: store.persistently(lambda: store.pay("key")).status_code == 200, "the payment")
        assert server_pid(data_dir / "postgres") != killed.pid
        told = [line for line in store.output.read_text().splitlines() if line.startswith("The database")]
        assert ["is lost" in told[0], "is back" in told[1], len(told)] == [True, True, 2]


@pytest.mark.slow("starts a database")
def test_a_block_within_a_block_does_not_stop_the_server(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, database_url=None)
    with open_database(settings) as outer:
        with open_database(settings) as inner:
            assert inner == outer
        outer.check()
    assert server_pid(data_dir / "postgres") is None


@pytest.mark.slow("starts a database twice")
def test_the_pid_file_of_a_server_that_was_killed_does_no_harm(data_dir: Path) -> None:
    """Its process id has since been given to another program: this one."""
    settings = Settings(data_dir=data_dir, database_url=None)
    with open_database(settings):
        lines = (data_dir / "postgres" / "postmaster.pid").read_text().split("\n")
    stale = "\n".join([str(os.getpid()), *lines[1:]])
    (data_dir / "postgres" / "postmaster.pid").write_text(stale)
    with open_database(settings) as database:
        database.check()
        assert server_pid(data_dir / "postgres") != os.getpid()


def test_a_data_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(data_dir=tmp_path / "file" / "data", database_url=None)
    with pytest.raises(DatabaseUnavailable, match="WIDGET_STORE_DATA_DIR"), open_database(settings):
        pass


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    settings = Settings(database_url=NEVER_ANSWERS)
    with pytest.raises(DatabaseUnavailable) as unavailable, open_database(settings):
        pass
    assert "127.0.0.1:1/nowhere does not answer" in str(unavailable.value)
    assert "correct-horse" not in str(unavailable.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:correct-horse@127.0.0.1:1/nowhere",
        "postgresql://anna@127.0.0.1:1/nowhere?password=correct-horse",
        "postgresql://anna@127.0.0.1:1/nowhere?sslpassword=correct-horse&application_name=shop",
    ],
)
def test_a_password_is_never_shown_wherever_it_stands_in_the_url(url: str) -> None:
    assert "correct-horse" in at_url(url).url
    assert "correct-horse" not in at_url(url).name
    assert "127.0.0.1:1/nowhere" in at_url(url).name


def test_a_file_that_is_none_of_sqlite_s_is_told(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("a shopping list, and a long one\n" * 100)
    with pytest.raises(DatabaseUnavailable, match="file is not a database"):
        at_url(f"sqlite:///{tmp_path / 'store.sqlite'}").check()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_in_memory_is_refused(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="would not survive a crash"):
        at_url(url)


def test_an_sqlite_file_in_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="does not exist"):
        at_url(f"sqlite:///{tmp_path / 'missing' / 'store.sqlite'}")


def test_sqlite_keeps_dbos_s_tables_in_a_file_of_their_own(tmp_path: Path) -> None:
    database = at_url(f"sqlite:///{tmp_path / 'store.sqlite'}")
    assert database.system_url == f"sqlite:///{tmp_path / 'store-dbos.sqlite'}"


@pytest.mark.slow("starts a database six times")
def test_an_address_that_no_socket_of_ours_has_is_forgotten(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where it is a port; and damaged ones."""
    monkeypatch.chdir(tmp_path)
    with embedded_postgres(data_dir, hurry=True):
        pass
    for content in (b"45639", b"", b"widget-store-beside", b"/tmp", b"\xff\x00"):
        (data_dir / "postgres" / "address").write_bytes(content)
        with embedded_postgres(data_dir) as database:
            database.check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow("starts a database")
def test_a_stranger_who_listens_in_the_server_s_place_is_told_no_password_and_is_not_believed(data_dir: Path) -> None:
    """As another account can where a folder of old temporary files was cleared away, or on a port of Windows."""
    ask_for_password, let_in = 3, 0
    with embedded_postgres(data_dir, hurry=True) as database:
        passwords = re.findall(r"[^:]+$", (data_dir / "postgres" / "passwords").read_text(), re.MULTILINE)
    for request in (ask_for_password, let_in):
        with _listening_at(database) as stranger:
            said: list[bytes] = []
            answers = threading.Thread(target=_answer_as_postgresql, args=(stranger, request, said))
            answers.start()
            with pytest.raises(psycopg.OperationalError, match=r"require_auth|scram"):
                database.connect()
            answers.join(PATIENCE_SECONDS)
        assert b"widget_store" in said[0]
        assert not any(password.strip().encode() in b"".join(said) for password in passwords)


@contextlib.contextmanager
def _listening_at(database: Database) -> Iterator[socket.socket]:
    """A socket where an embedded server was, for one client."""
    address = make_url(database.url).query
    if AS_ON_WINDOWS:
        with socket.create_server((str(address["host"]), int(str(address["port"])))) as listener:
            yield listener
        return
    folder = Path(str(address["host"]))
    folder.mkdir()
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / f".s.PGSQL.{address['port']}"))
            listener.listen()
            yield listener
    finally:
        shutil.rmtree(folder)


def _answer_as_postgresql(listener: socket.socket, request: int, said: list[bytes]) -> None:
    """Answer a client's greeting with a request for authentication, and note all that it says."""
    listener.settimeout(PATIENCE_SECONDS)
    client, _ = listener.accept()
    with client:
        client.settimeout(PATIENCE_SECONDS)
        said.append(client.recv(1000))
        if said[0][4:8] == _SSL_REQUEST:  # over TCP it asks first
            client.sendall(b"N")
            said[0] = client.recv(1000)
        client.sendall(b"R" + struct.pack("!II", 8, request))
        with contextlib.suppress(ConnectionError):
            while words := client.recv(1000):
                said.append(words)
                if words[:1] == b"p":
                    return


@pytest.mark.slow("a store waits five seconds before it says why")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_store_that_waits_for_its_database_can_be_stopped(
    stop: signal.Signals, public_folder: Path, data_dir: Path
) -> None:
    """After a power cut the server reads its log again, which may take minutes. Here it is said to."""
    with embedded_postgres(data_dir, hurry=True):
        state = data_dir / "postgres" / "postmaster.pid"
        ready = state.read_text()
        state.write_text(ready.replace("ready", "starting"))
        with starting(public_folder, WIDGET_STORE_DATA_DIR=str(data_dir)) as store:
            eventually(lambda: "recovers from its log" in store.output.read_text(), "a store that says why it waits")
            store.process.send_signal(stop)
            assert store.process.wait(PATIENCE_SECONDS) == 0
            assert "Traceback" not in store.output.read_text()
        state.write_text(ready)


@pytest.mark.slow("starts a process")
def test_a_crash_test_ends_without_a_word_when_who_would_clear_away_behind_it_was_killed(tmp_path: Path) -> None:
    """As a system does for want of memory."""
    with open_databases(Settings(database_url="sqlite:///store.sqlite", data_dir=tmp_path)):
        ours = psutil.Process().children()
        (beside,) = (each for each in ours if str(Path("databases") / "clear_away.py") in " ".join(each.cmdline()))
        beside.kill()
        psutil.wait_procs([beside], PATIENCE_SECONDS)


@pytest.mark.slow("starts a database, and waits for its autovacuum")
def test_a_database_in_which_autovacuum_is_at_work_is_dropped(data_dir: Path) -> None:
    with embedded_postgres(data_dir, hurry=True) as server:
        with superuser(server).connect() as connection:
            connection.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
            connection.execute("SELECT pg_reload_conf()")
        with server.connect() as connection:
            connection.execute("CREATE DATABASE dirty")
        dirty = at_url(make_url(server.url).set(database="dirty").render_as_string(hide_password=False))
        with dirty.connect() as connection, superuser(server).connect() as other:
            connection.execute(
                "CREATE TABLE much (word text)"  # it takes a minute to vacuum this
                " WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,"
                " autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
            )
            connection.execute("INSERT INTO much SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
            connection.execute("DELETE FROM much")
            at_work = "SELECT 1 FROM pg_stat_activity WHERE datname = 'dirty' AND backend_type = 'autovacuum worker'"
            eventually(lambda: other.execute(at_work).fetchone(), "autovacuum")
            drop_database(server, "dirty")
            assert not other.execute("SELECT 1 FROM pg_database WHERE datname = 'dirty'").fetchone()


class OwnServer:
    """A PostgreSQL server that the test stops and starts behind the store's back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Somebody who uses it: otherwise it would be stopped soon after each start.
        self._users = fasteners.InterProcessReaderWriterLock(folder / "postgres.users")
        with open_database(Settings(data_dir=folder, database_url=None)) as database:
            self.database = database
        self._users.acquire_read_lock()

    def start(self) -> None:
        """Start it as the kit does, in a process that leaves at once and without a word."""
        script = (
            "import os, sys, pathlib; from widget_store.databases.embedded import embedded_postgres as postgres\n"
            "with postgres(pathlib.Path(sys.argv[1])): os._exit(0)"
        )
        subprocess.run(
            [sys.executable, "-c", script, str(self._folder)],
            env=environment(),
            check=True,
            timeout=PATIENCE_SECONDS,
        )

    def close(self) -> None:
        """End it for good."""
        self.crash()
        self._users.release_read_lock()

    def crash(self) -> None:
        """`pg_ctl stop -m immediate`: no session is ended in good order, and the next start recovers from the log."""
        pid = server_pid(self._folder / "postgres")
        if pid is not None:
            server = psutil.Process(pid)
            server.send_signal(signal.SIGQUIT)  # what pg_ctl sends; it would need the server's own user
            server.wait(PATIENCE_SECONDS)


@pytest.fixture
def own_server(data_dir: Path) -> Iterator[OwnServer]:
    """It is crashed for good with the test."""
    server = OwnServer(data_dir)
    server.start()
    yield server
    server.close()


@pytest.mark.slow("stops and starts a database under a store")
def test_a_database_that_goes_away_and_comes_back_loses_no_order(public_folder: Path, own_server: OwnServer) -> None:
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=own_server.database.url) as store:
        paid, waiting, late = new_key(), new_key(), new_key()
        order_id = store.sell(paid)
        store.buy(waiting)
        own_server.crash()
        own_server.start()

        def settles(key: str) -> bool:
            return store.persistently(lambda: store.pay(key)).status_code == 200

        def sells(key: str) -> bool:
            return store.persistently(lambda: store.buy(key)).status_code == 200

        eventually(lambda: settles(waiting), "the payment after the outage")
        eventually(lambda: sells(late), "a new order after the outage")
        eventually(lambda: settles(late), "its payment")
        eventually(lambda: store.order_status(order_id) == DISPATCHED, "the dispatch")
        assert Books(own_server.database).violations() == []
        assert store.process.poll() is None


@pytest.mark.slow("starts a database")
def test_a_server_that_takes_its_time_to_stop_is_not_called_stopped(
    data_dir: Path, own_server: OwnServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("widget_store.databases.embedded._STOPPED_WITHIN_SECONDS", 0.1)
    monkeypatch.setenv("WIDGET_STORE_DATA_DIR", str(data_dir))
    server = psutil.Process(server_pid(data_dir / "postgres"))
    server.suspend()
    try:
        assert main(["stop-database"]) == 1
    finally:
        server.resume()
    assert "still runs" in capsys.readouterr().err
    server.wait(PATIENCE_SECONDS)
    own_server.start()
    monkeypatch.undo()
    monkeypatch.setenv("WIDGET_STORE_DATA_DIR", str(data_dir))
    assert main(["stop-database"]) == 0
    assert "is stopped" in capsys.readouterr().out
