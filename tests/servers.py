"""PostgreSQL servers of a test's own: to be copied, lost and promoted."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy.engine import URL

from tests.support import PATIENCE_SECONDS, new_key
from widget_store.databases import at_url, programs, server_pid


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server in a folder, which listens on a Unix socket there."""

    folder: Path

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs as the account that the server belongs to."""
        subprocess.run(
            programs.command(program, *arguments),
            cwd=self.folder,
            env=programs.environment() | {"PGPASSFILE": str(self.folder / "passwords")},
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


@contextlib.contextmanager
def copied(
    original: Server, socket: str, folder: Path, *options: str, access: str = "", follow: bool = False
) -> Iterator[Server]:
    """A running copy of a server, with a Unix socket in its own folder.

    Args:
        original: The server to copy.
        socket: Where it has its socket.
        folder: Where the copy's folder is made.
        options: For the copy's `postgres`.
        access: A line for its `pg_hba.conf`.
        follow: Whether it follows the original, commit by commit, as a standby.
    """
    place = folder / new_key()
    place.mkdir(mode=0o700)
    os.chown(place, original.folder.stat().st_uid, -1)
    copy = Server(place)
    how = ["-R"] if follow else []
    original.run("pg_basebackup", "-h", socket, "-U", "postgres", "-D", place, "-c", "fast", *how)
    (place / ".s.PGSQL.5432.lock").unlink(missing_ok=True)  # copied with the rest: the original's socket is there, too
    with (place / "pg_hba.conf").open("a") as rules:
        rules.write(f"{access}\n")
    words = " ".join([f"-k {place}", *options])
    copy.run("pg_ctl", "-D", place, "-l", place / "log", "-o", words, "-w", "start")
    try:
        yield copy
    finally:
        copy.run("pg_ctl", "-D", place, "-m", "immediate", "-w", "stop")


def sql(url: URL, *statements: str) -> list[Any]:
    """Run statements, each in a transaction of its own; return the rows of the last."""
    rows: list[Any] = []
    with at_url(url.render_as_string(hide_password=False)).connect() as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows
