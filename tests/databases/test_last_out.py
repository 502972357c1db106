"""The embedded PostgreSQL ends with its users, also when all of them are killed."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import PATIENCE_SECONDS, ROOT, environment, eventually, lives
from widget_store.databases import has_embedded_postgres, open_database, server_pid, stop_embedded_postgres
from widget_store.settings import Settings

pytestmark = [
    pytest.mark.slow("starts a PostgreSQL server, and waits until its end"),
    pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL for this platform"),
]

USER = """
from widget_store.databases import open_database
from widget_store.settings import read_settings

with open_database(read_settings()):
    print("ready", flush=True)
    input()
"""


class User:
    """A process that uses the database."""

    def __init__(self, data_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER],
            cwd=ROOT,
            env=environment(WIDGET_STORE_DATA_DIR=str(data_dir)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def user(data_dir: Path) -> Iterator[User]:
    """The first user: it starts the server."""
    first = User(data_dir)
    yield first
    first.kill()
    eventually(lambda: stop_embedded_postgres(data_dir), "nobody to use the server")


def server_in(data_dir: Path) -> psutil.Process:
    pid = server_pid(data_dir / "postgres")
    assert pid is not None
    return psutil.Process(pid)


def besides(data_dir: Path) -> list[psutil.Process]:
    """The processes that wait for the end of the server's users."""
    return [each for each in psutil.process_iter(["cmdline"]) if str(data_dir) in (each.info["cmdline"] or [])]


def test_a_server_whose_only_user_was_killed_ends(user: User, data_dir: Path) -> None:
    server = server_in(data_dir)
    user.kill()
    eventually(lambda: not lives(server), "the end of the server")
    assert "database system is shut down" in (data_dir / "postgres" / "log").read_text()
    eventually(lambda: not besides(data_dir), "the end of the process beside it")


def test_a_server_that_another_process_uses_goes_on(user: User, data_dir: Path) -> None:
    server = server_in(data_dir)
    with open_database(Settings(data_dir=data_dir, database_url=None)) as database:
        (beside,) = besides(data_dir)
        user.kill()
        looks = beside.num_ctx_switches().voluntary + 5
        eventually(lambda: beside.num_ctx_switches().voluntary >= looks, "a few looks at who uses it")
        database.check()
        assert lives(server)
        assert besides(data_dir) == [beside], "one for the server, and not one for each user"
    eventually(
        lambda: not besides(data_dir), "the end of the process beside it, as the server was stopped in good order"
    )


def test_a_server_that_was_killed_takes_the_process_beside_it_with_it(user: User, data_dir: Path) -> None:
    server_in(data_dir).kill()
    eventually(lambda: not besides(data_dir), "the end of the process beside it")
    assert user.process.poll() is None


def test_a_data_folder_that_was_deleted_is_not_made_again(user: User, data_dir: Path) -> None:
    shutil.rmtree(data_dir)
    user.kill()
    eventually(lambda: not besides(data_dir), "the end of the process beside it")
    assert not data_dir.exists()


def test_a_server_whose_data_folder_was_renamed_is_found_there_and_ends(user: User, data_dir: Path) -> None:
    server, renamed = server_in(data_dir), data_dir.with_name(f"{data_dir.name}-renamed")
    data_dir.rename(renamed)
    assert server_pid(renamed / "postgres") in {server.pid, None}, "it may have ended already"
    user.kill()
    eventually(lambda: not lives(server), "its end")
    assert "database system is shut down" in (renamed / "postgres" / "log").read_text()
