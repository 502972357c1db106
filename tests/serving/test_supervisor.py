"""`widget-store serve` from the outside: what keeps a store alive, what ends it, what is left of it."""

import contextlib
import multiprocessing as mp
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import psutil
import pytest

from tests.support import (
    DISPATCHED,
    PATIENCE_SECONDS,
    ROOT,
    Books,
    command,
    cut_connections,
    environment,
    eventually,
    lives,
    new_key,
    starting,
)
from tests.support import serving_cold as serving
from widget_store.databases import Database, at_url
from widget_store.errors import PortTaken, StoreDidNotStart
from widget_store.serving.ports import free_port, listen
from widget_store.serving.supervisor import Plan, _WorkerProcess
from widget_store.settings import read_settings
from widget_store.system.processes import Processes
from widget_store.system.windows import AS_ON_WINDOWS

pytestmark = pytest.mark.slow("starts stores")

APP = """
from dbos import DBOS
from widget_store.transactions import create_order
from widget_store.workflows import ORDER_ID, PAYMENT_ID, dispatch_order_workflow


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    order_id = create_order()
    DBOS.set_event(PAYMENT_ID, f"learner-{key}")
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
"""


@pytest.fixture
def url(new_database: Callable[[str], Database]) -> str:
    """An SQLite file: the quickest database to start a store on."""
    return new_database("sqlite").url


@pytest.fixture
def app(tmp_path: Path) -> Callable[[str], str]:
    """Writes a learner's file; its path."""

    def write(source: str) -> str:
        file = tmp_path / "learner.py"
        file.write_text(source)
        return str(file)

    return write


def all_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)[1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_store_that_is_told_to_stop_leaves_no_process(public_folder: Path, url: str, how: signal.Signals) -> None:
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=url) as store:
        store.buy(new_key())  # its workflow waits for the payment, and must not hold up the end
        family = store.family()
        assert store.stop(how) == 0
        assert all_gone(family)
        assert "Traceback" not in store.output.read_text()


def test_a_store_that_is_told_to_stop_while_it_starts_leaves_no_process(public_folder: Path, url: str) -> None:
    with starting(public_folder, WIDGET_STORE_DATABASE_URL=url) as store:
        eventually(lambda: len(store.family()) > 1, "its first child")
        family = store.family()
        store.stop()
        assert all_gone(family)


def test_the_death_of_the_supervisor_takes_its_workers_with_it(public_folder: Path, url: str) -> None:
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=url) as store:
        family = store.family()
        assert len(family) > 1
        store.process.kill()
        store.process.wait(PATIENCE_SECONDS)
        assert all_gone(family)


def test_a_killed_worker_is_replaced_under_its_own_id_on_its_own_port(public_folder: Path, url: str) -> None:
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=url) as store:
        before, address = store.client.get("/healthz").json(), store.url
        store.kill_worker()
        after = store.persistently(lambda: store.client.get("/healthz")).json()
        assert (after["executor_id"], store.url) == (before["executor_id"], address)
        assert after["pid"] != before["pid"]
        told = store.output.read_text()
        assert (told.count("ready"), told.count("worker-1 has died (killed by signal 9), and is started again.")) == (
            1,
            1,
        )


@pytest.mark.slow("starts two stores cold")
def test_a_port_that_another_store_has_is_told_with_the_process_to_end(public_folder: Path, url: str) -> None:
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=url) as store:
        ended = command("serve", "--port", str(store.port), WIDGET_STORE_DATABASE_URL=url)
        assert ended.returncode == 1
        assert f"by another widget store (process {store.process.pid})" in ended.stderr


def test_a_worker_may_die_more_often_than_five_times_once_it_was_ready(public_folder: Path, url: str) -> None:
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=url) as store:
        for _ in range(6):
            store.kill_worker()
        assert store.worker().is_running()


@pytest.mark.skipif(AS_ON_WINDOWS, reason="there nothing is forked")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_fork_server_is_replaced_as_its_workers_are(public_folder: Path, url: str, workers: str) -> None:
    """The system may choose it when memory runs out. The workers end with it, as with the supervisor."""
    with serving(public_folder, "--workers", workers, WIDGET_STORE_DATABASE_URL=url) as store:
        fork_server = store.worker().parent()
        assert fork_server is not None
        assert fork_server.pid != store.process.pid
        fork_server.kill()
        eventually(lambda: not lives(fork_server), "the end of the fork server")
        eventually(store.sells, "a store that sells again")
        assert "Traceback" not in store.output.read_text()


def test_a_fork_server_that_dies_while_it_is_asked_is_a_death_at_start() -> None:
    """There is a moment in which it is gone and nobody knows: the kill above hits it now and then."""

    class Dying:
        def __getattr__(self, name: str) -> object:
            return getattr(mp, name)

        def Process(self, **_: object) -> "Dying":  # noqa: N802 - as multiprocessing calls it
            return self

        def start(self) -> None:
            raise EOFError

    worker = _WorkerProcess(Plan(read_settings()), cast("Processes", Dying()))
    with listen("127.0.0.1", 0) as listener:
        worker.start("worker-1", at_url("sqlite:///never-opened.sqlite"), listener)
        for _ in range(4):
            worker.start_again()
        assert not worker.is_alive()
        assert worker.handles() == []
        for end in (worker.terminate, worker.kill, worker.join):
            end()
        with pytest.raises(StoreDidNotStart, match=r"5 times in a row .* the process that forks the workers was ended"):
            worker.start_again()


def test_without_restart_the_store_ends_with_its_worker(public_folder: Path, url: str) -> None:
    with serving(public_folder, "--no-restart", WIDGET_STORE_DATABASE_URL=url) as store:
        family = store.family()
        store.kill_worker()
        assert store.process.wait(PATIENCE_SECONDS) == 1
        assert all_gone(family)
        assert "killed by signal 9" in store.output.read_text()
        assert "Traceback" not in store.output.read_text()


WAITS_BEFORE_IT_ANSWERS = """
from dbos import DBOS


@DBOS.workflow()
def checkout_workflow(key: str) -> str:
    DBOS.recv("never", timeout_seconds=3600)
    return key
"""


def test_a_customer_who_waits_does_not_make_the_end_of_a_store_noisy(
    public_folder: Path, url: str, app: Callable[[str], str]
) -> None:
    with (
        ThreadPoolExecutor() as customers,
        serving(public_folder, "--app", app(WAITS_BEFORE_IT_ANSWERS), WIDGET_STORE_DATABASE_URL=url) as store,
    ):
        address = store.url
        waiting = customers.submit(httpx.post, f"{address}/checkout/{new_key()}", timeout=PATIENCE_SECONDS)
        running = "SELECT 1 FROM {dbos}workflow_status WHERE status = 'PENDING'"
        eventually(lambda: Books(at_url(url)).system(running), "the checkout")
        assert store.stop() == 0
        assert isinstance(waiting.exception() or waiting.result(), httpx.Response | httpx.TransportError)
        assert store.output.read_text() == f"ready {address}\n"


LOSES_THE_DATABASE = """
import os
from pathlib import Path
from tests.support import cut_connections
from widget_store.databases import at_url
from widget_store.workflows import checkout_workflow

starts = Path(__file__).with_suffix(".starts")
with starts.open("a") as file:
    file.write("+")
if starts.stat().st_size <= 6:
    cut_connections(at_url(os.environ["WIDGET_STORE_DATABASE_URL"]))
    os._exit(1)
"""


@pytest.mark.parametrize("arguments", [[], ["--no-restart"]])
def test_a_worker_that_dies_with_the_database_is_not_blamed(
    public_folder: Path, new_database: Callable[[str], Database], app: Callable[[str], str], arguments: list[str]
) -> None:
    database = new_database("postgresql").url
    file = app(LOSES_THE_DATABASE)
    with serving(public_folder, "--app", file, *arguments, WIDGET_STORE_DATABASE_URL=database) as store:
        store.buy(new_key())
        assert store.output.read_text().count("The database is back.") == 6


SAYS_WHO_LIVES_AT_EACH_CLAIM = """
import sys
import psutil
from widget_store.serving import executors, supervisor
from widget_store.settings import Settings

claim = executors.claim

def observed(database, workers):
    living = [worker for child in psutil.Process().children() for worker in child.children()]
    print(f"claims beside {len(living)} workers", flush=True)
    return claim(database, workers)

executors.claim = observed
plan = supervisor.Plan(Settings(database_url=sys.argv[1]), port=0, workers=2)
supervisor.run(plan, announce=lambda url: print("ready", flush=True))
"""


def test_after_an_outage_the_ids_are_claimed_when_the_old_workers_are_gone(
    new_database: Callable[[str], Database],
) -> None:
    """Until then, another store that is given their ids would run their workflows beside them."""
    database = new_database("postgresql")
    with subprocess.Popen(
        [sys.executable, "-c", SAYS_WHO_LIVES_AT_EACH_CLAIM, database.url],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as store:
        try:
            assert store.stdout is not None
            assert [store.stdout.readline(), store.stdout.readline()] == ["claims beside 0 workers\n", "ready\n"]
            cut_connections(database)
            assert store.stdout.readline() == "claims beside 0 workers\n"
        finally:
            store.terminate()
        assert store.wait(PATIENCE_SECONDS) == 0


def test_several_workers_serve_one_port_and_survive_each_other(
    public_folder: Path, new_database: Callable[[str], Database]
) -> None:
    database = new_database("postgresql").url
    with serving(public_folder, "--workers", "2", WIDGET_STORE_DATABASE_URL=database) as store:
        store.kill_worker()
        keys = [new_key() for _ in range(4)]
        for key in keys:
            assert store.persistently(partial(store.buy, key)).text == key
        orders = [int(store.persistently(partial(store.pay, key)).text) for key in keys]
        assert len(set(orders)) == 4
        eventually(lambda: {store.order_status(each) for each in orders} == {DISPATCHED}, "their dispatch")


def test_nobody_on_the_network_reaches_a_store(public_folder: Path, url: str) -> None:
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=url) as store:
        store.client.get("/healthz").raise_for_status()
        listens = {
            connection.laddr
            for process in store.family()
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listens == {("127.0.0.1", store.port)}


@pytest.mark.parametrize(("token", "told"), [({}, 1), ({"WIDGET_STORE_CRASH_TOKEN": "known-to-few"}, 0)])
def test_a_crash_endpoint_that_is_open_to_everybody_is_told(
    public_folder: Path, url: str, token: dict[str, str], told: int
) -> None:
    with serving(public_folder, "--crash-endpoint", WIDGET_STORE_DATABASE_URL=url, **token) as store:
        assert store.output.read_text().count("every account of this machine included") == told
        assert "known-to-few" not in store.output.read_text()
        for wrong in ({}, {"X-Crash-Token": "known"}, {"X-Crash-Token": ""}) if token else ():
            assert store.client.post("/crash_application", headers=wrong).status_code == 403
        headers = {"X-Crash-Token": "known-to-few"} if token else {}
        with pytest.raises(httpx.TransportError):
            store.client.post("/crash_application", headers=headers)


def test_the_port_is_held_while_a_single_worker_is_dead(public_folder: Path, url: str, tmp_path: Path) -> None:
    """Who comes then waits for the moment until it is back."""
    gate = tmp_path / "may-start"
    gate.touch()
    app = tmp_path / "gated.py"
    app.write_text(
        "import time\nfrom pathlib import Path\nfrom widget_store.workflows import checkout_workflow\n"
        f"while not Path({str(gate)!r}).exists():\n    time.sleep(0.01)\n"
    )
    with (
        serving(public_folder, "--app", str(app), WIDGET_STORE_DATABASE_URL=url) as store,
        ThreadPoolExecutor() as pool,
    ):
        port = store.port
        gate.unlink()
        store.kill_worker()
        with pytest.raises(PortTaken):
            free_port("127.0.0.1", port)
        waits = pool.submit(httpx.get, f"{store.url}/healthz", timeout=PATIENCE_SECONDS, trust_env=False)
        gate.touch()
        assert waits.result().status_code == 200


def test_a_port_that_is_taken_is_told_with_who_has_it(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("serve", "--port", str(port), WIDGET_STORE_DATABASE_URL=url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"127.0.0.1:{port}" in ended.stderr
    assert f"process {psutil.Process().pid}" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_learner_s_file_is_served(public_folder: Path, url: str, app: Callable[[str], str]) -> None:
    with serving(public_folder, "--app", app(APP), WIDGET_STORE_DATABASE_URL=url) as store:
        assert store.buy("key").text == "learner-key"


def test_an_order_under_way_goes_on_in_the_learner_s_next_version(
    public_folder: Path, url: str, app: Callable[[str], str]
) -> None:
    waits = APP.replace("return key", "DBOS.recv('the next version')")
    with serving(public_folder, "--app", app(waits), WIDGET_STORE_DATABASE_URL=url) as store:
        assert store.buy("key").text == "learner-key"
    with serving(public_folder, "--app", app(f"# edited\n{waits}"), WIDGET_STORE_DATABASE_URL=url) as store:
        assert store.buy("key").text == "learner-key"
        assert len(store.client.get("/orders").json()) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def checkout_workflow(key:", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
        ("", "defines no checkout_workflow"),
        ("raise SystemExit(3)", "exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
    ],
)
def test_a_learner_s_file_that_can_not_be_served_is_told_with_the_reason(
    url: str, app: Callable[[str], str], source: str, reason: str
) -> None:
    ended = command("serve", "--port", "0", "--app", app(source), WIDGET_STORE_DATABASE_URL=url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "5 times in a row" in ended.stderr
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr.replace("raise SystemExit", "")


def test_a_learner_s_file_that_is_not_there_is_named(url: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.py")
    ended = command("serve", "--port", "0", "--app", missing, WIDGET_STORE_DATABASE_URL=url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert missing in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there no socket is a file")
def test_a_temporary_folder_with_a_long_name_and_strict_warnings_are_no_matter(
    public_folder: Path, tmp_path: Path, url: str
) -> None:
    long = tmp_path / ("t" * 108)
    long.mkdir()
    strict = {"TMPDIR": str(long), "PYTHONWARNINGS": "error::ResourceWarning", "WIDGET_STORE_DATABASE_URL": url}
    with serving(public_folder, **strict) as store:
        assert store.sell(new_key()) == 1
        assert store.stop() == 0
        assert store.output.read_text() == f"ready {store.url}\n"


def test_a_store_ends_with_its_standard_input_where_it_is_told_to(url: str) -> None:
    ended = command("serve", "--port", "0", "--stop-with-stdin", WIDGET_STORE_DATABASE_URL=url)
    assert ended.returncode == 0  # its standard input was at its end from the first
    assert ended.stderr == ""


CONSOLE_SCRIPT = """import sys
from widget_store.cli import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.slow("starts a store")
def test_a_store_starts_beside_a_file_that_is_called_like_a_module(database: Database, tmp_path: Path) -> None:
    for module in ("random", "json", "dbos"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('not this one')")
    with _serving_from(tmp_path, CONSOLE_SCRIPT, WIDGET_STORE_DATABASE_URL=database.url) as output:
        eventually(lambda: "ready http" in output.read_text(), "a store that is ready")


@pytest.mark.slow("starts a store")
def test_a_store_whose_standard_output_is_closed_answers(database: Database, tmp_path: Path) -> None:
    port = free_port("127.0.0.1", 0)
    closed = "import os\nif __name__ == '__main__':\n    os.close(0)\n    os.close(1)"
    with _serving_from(
        tmp_path, f"{closed}\n{CONSOLE_SCRIPT}", "--port", str(port), WIDGET_STORE_DATABASE_URL=database.url
    ) as output:
        eventually(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), "its answer")
        assert output.read_text() == ""


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False).is_success
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def _serving_from(folder: Path, program: str, *arguments: str, **settings: str) -> Iterator[Path]:
    """`widget-store serve` from a folder, as the console script runs it; gives the file of what it prints."""
    output, script = folder / "output.txt", folder / "bin" / "widget-store"
    script.parent.mkdir()
    script.write_text(program)
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, script, "serve", *(arguments or ("--port", "0"))],
            cwd=folder,
            env=environment(PYTHONPATH=str(ROOT), **settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield output
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


_AS_PYTHON_3_11_0 = """
from multiprocessing import connection, forkserver, util
usual = connection.arbitrary_address
connection.arbitrary_address = lambda family: "\\0listener" if util.abstract_sockets_supported else usual(family)
from widget_store.system.processes import warm_processes
warm_processes("widget_store.serving.warm")
print(ascii(forkserver._forkserver._forkserver_address))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has sockets without a file")
def test_what_forks_the_workers_has_its_socket_in_a_private_folder_whatever_the_python() -> None:
    """Python 3.11.0, which Ubuntu 22.04 has, would take one to which every account can connect (CVE-2022-42919)."""
    told = subprocess.run([sys.executable, "-c", _AS_PYTHON_3_11_0], capture_output=True, text=True, check=True).stdout
    assert "/pymp-" in told, told
