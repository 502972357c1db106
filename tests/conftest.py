"""Fixtures of all tests: real databases, served stores, and a check that no process is left behind."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy.engine import URL, make_url

from tests.servers import Server
from tests.support import Books, Serving, end_fork_server, eventually, new_key, serving
from widget_store.databases import Database, at_url, superuser
from widget_store.databases.embedded import embedded_postgres
from widget_store.databases.throwaway import roomy_memory, stop_own_server

MARK = "STARTED_BY_TESTS"
BACKENDS = ["postgresql", "sqlite"]


def pytest_configure() -> None:
    """Hear Ctrl-C, so that the commands that tests start do: those of a background job inherit its deafness."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left_behind(public_folder: Path) -> Iterator[None]:
    """Every process that the tests started is gone in the end: also an orphan, also a database."""
    mark = f"{os.getpid()}-{new_key()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)
        yield
    end_fork_server()
    stop_own_server()

    def left_behind() -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _belongs(process, mark, public_folder)]

    try:
        eventually(lambda: not left_behind(), "the end of every process that the tests started")
    except AssertionError:
        pytest.fail(f"the tests left processes behind: {left_behind()}")


def _belongs(process: psutil.Process, mark: str, folder: Path) -> bool:
    """Whether a process was started by these tests: it inherited their mark, or works in their folder."""
    if process.pid == os.getpid():
        return False
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return process.ppid() == os.getpid()
        if process.ppid() == os.getpid() and "from multiprocessing." in " ".join(process.cmdline()):
            return False  # multiprocessing's own helpers, which end with this process
        return process.environ().get(MARK) == mark or str(folder) in " ".join(process.cmdline())
    except psutil.Error:
        return False  # it has just ended, or it belongs to somebody else


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Path]:
    """A temporary folder that another system user may enter: as root, the embedded PostgreSQL runs as one.

    Pytest's own temporary folders won't do. Each start of pytest makes their common parent private again.
    """
    folder = Path(tempfile.mkdtemp(prefix="widget-store-tests-", dir=roomy_memory())).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data_dir(public_folder: Path) -> Path:
    """A data folder of one's own for an embedded PostgreSQL. It does not exist yet."""
    return public_folder / new_key()


@pytest.fixture(scope="session")
def postgresql(public_folder: Path) -> Iterator[Database]:
    """The embedded PostgreSQL in which most tests have databases of their own.

    It does not wait for the disk: here processes are killed, and only a power cut takes what the system has cached.
    """
    with embedded_postgres(public_folder / "shared", hurry=True) as database:
        yield database


@pytest.fixture
def primary(data_dir: Path) -> Iterator[tuple[Server, URL]]:
    with embedded_postgres(data_dir) as database:
        yield Server(data_dir / "postgres"), make_url(superuser(database).url)


@pytest.fixture(scope="session")
def new_database(postgresql: Database, public_folder: Path) -> Callable[[str], Database]:
    """Makes an empty database: on the shared PostgreSQL, or in an SQLite file."""

    def make(backend: str) -> Database:
        name = f"test_{new_key()}"
        if backend == "sqlite":
            return at_url(f"sqlite:///{public_folder / name}.sqlite")
        with postgresql.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return at_url(make_url(postgresql.url).set(database=name).render_as_string(hide_password=False))

    return make


@pytest.fixture(scope="module", params=BACKENDS)
def database(request: pytest.FixtureRequest, new_database: Callable[[str], Database]) -> Database:
    """An empty database; a test that asks for it runs on each kind."""
    return new_database(request.param)


@pytest.fixture(scope="module")
def served(database: Database, public_folder: Path) -> Iterator[Serving]:
    """A store on that database; one for all tests of a module."""
    with serving(public_folder, "--crash-endpoint", WIDGET_STORE_DATABASE_URL=database.url) as store:
        yield store


@pytest.fixture
def books(database: Database) -> Books:
    """The database behind the store, in SQL."""
    return Books(database)


@pytest.fixture
def store(served: Serving, books: Books) -> Iterator[Serving]:
    """The module's store, with some stock. After each test its books must balance."""
    served.client.post("/restock").raise_for_status()
    yield served
    waiting = "SELECT workflow_uuid FROM {dbos}workflow_status WHERE name = 'checkout_workflow' AND status = 'PENDING'"
    for (key,) in books.system(waiting):
        served.pay(key, "failed")  # a customer who did not pay: no need to wait for the timeout
    assert books.violations() == []
