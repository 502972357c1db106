"""The end of JupyterLab, however it comes: nothing that its kernels have started is left, no database either."""

import contextlib
import json
import os
import re
import secrets
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import zmq
import zmq.utils.monitor
from jupyter_client.blocking.client import BlockingKernelClient

from tests.support import PATIENCE_SECONDS, environment, eventually, lives, new_key
from tests.terminal import widget_store_in_a_terminal
from widget_store.databases import has_embedded_postgres

pytestmark = [
    pytest.mark.slow("starts JupyterLab, and a kernel with a store", weight=4),
    pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal and its signals"),
    pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL for this platform"),
]

MARK = "WIDGET_STORE_TEST_LAB"


class Lab:
    """`widget-store lab` in a terminal of its own, and one kernel in it."""

    def __init__(self, folder: Path) -> None:
        self._runtime = folder / "runtime"
        self.token = secrets.token_hex()
        self._mark = new_key()
        self._said = b""
        settings = {"WIDGET_STORE_DATA_DIR": str(folder / "data"), "JUPYTER_RUNTIME_DIR": str(self._runtime)}
        self.process, self.terminal = widget_store_in_a_terminal(
            *("lab", str(folder / "course"), "--no-browser", f"--IdentityProvider.token={self.token}", "--port=0"),
            env=environment(**settings, **{MARK: self._mark}),
        )
        self._is_closed = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        found = eventually(lambda: re.findall(rb"http://127\.0\.0\.1:\d+/", self._said), "JupyterLab")
        self._url = bytes(found[0]).decode()
        self._api = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"token {self.token}"},
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        )

    def run(self, *cells: str) -> None:
        """Run cells in a new kernel; the last of them runs for ever."""
        kernel = eventually(self._new_kernel, "a kernel")
        client = BlockingKernelClient(connection_file=str(self._runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels(hb=False)  # on a busy machine it takes a kernel for dead that is slow to start
        try:
            client.wait_for_ready(timeout=PATIENCE_SECONDS)
            for cell in cells:
                answer = client.execute_interactive(cell, timeout=PATIENCE_SECONDS, output_hook=lambda _output: None)
                assert answer["content"]["status"] == "ok", answer["content"]
            client.execute("import time; time.sleep(600)")
        finally:
            client.stop_channels()

    def addresses(self) -> set[str]:
        """The hosts to which it sends a browser with its token: those that it has printed, and that of its own page."""
        pages = [page.read_text(encoding="utf-8") for page in self._runtime.glob("jpserver-*-open.html")]
        assert pages
        return set(re.findall(r"http://([^/:]+):\d+/", "".join([self._said.decode(errors="replace"), *pages])))

    def status_of_kernels(self, **headers: str) -> int:
        """The status of the answer to a stranger, who has no cookie of JupyterLab's and asks for its kernels."""
        url = f"{self._url}api/kernels"
        return httpx.get(url, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False).status_code

    def connections_of_kernels(self) -> list[dict[str, Any]]:
        """How to reach each kernel, keys included: only the learner may read that."""
        files = list(self._runtime.glob("kernel-*.json"))
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        return [json.loads(file.read_text()) for file in files]

    def family(self) -> list[psutil.Process]:
        """All that belongs to it."""
        return [each for each in psutil.process_iter() if self._has(each)]

    def press_ctrl_c_twice(self) -> None:
        os.write(self.terminal, b"\x03")
        eventually(lambda: b"Shut down this Jupyter server" in self._said, "its question")
        os.write(self.terminal, b"\x03")

    def close_terminal(self) -> None:
        self._is_closed.set()
        self._listener.join()  # it closes the terminal: the system sends SIGHUP

    def end(self) -> None:
        self._api.close()
        self.process.kill()
        self.process.wait()
        self.close_terminal()

    def _new_kernel(self) -> str:
        with contextlib.suppress(httpx.TransportError):
            answer = self._api.post("/api/kernels", json={"name": "python3"})
            if answer.is_success:
                return str(answer.json()["id"])
        return ""

    def _has(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return lives(process) and process.environ().get(MARK) == self._mark
        return False

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while not self._is_closed.is_set():
                if select.select([self.terminal], [], [], 0.05)[0]:
                    self._said += os.read(self.terminal, 4096)
        os.close(self.terminal)  # not while it is read: it would stay open until then


@pytest.fixture
def lab(data_dir: Path) -> Iterator[Lab]:
    data_dir.mkdir()
    lab = Lab(data_dir)
    yield lab
    lab.end()


def kill_its_kernels_and_end_it(lab: Lab) -> None:
    for each in psutil.Process(lab.process.pid).children():
        if "ipykernel" in " ".join(each.cmdline()):
            each.kill()
    lab.process.terminate()


ENDS = {
    "Ctrl-C": Lab.press_ctrl_c_twice,
    "SIGTERM": lambda lab: lab.process.terminate(),
    "SIGKILL": lambda lab: lab.process.kill(),
    "the terminal is closed": Lab.close_terminal,
    "its kernels are killed first": kill_its_kernels_and_end_it,
}


OPENS = {"store": "opened = Store.fresh()", "workers": "opened = Workers.fresh(2)"}


def test_jupyterlab_lets_nobody_in_without_its_token_and_is_not_on_the_network(lab: Lab) -> None:
    assert lab.status_of_kernels() == 403
    assert lab.status_of_kernels(Authorization="token wrong") == 403
    assert lab.status_of_kernels(Authorization=f"token {lab.token}") == 200
    own = [each.laddr.ip for each in psutil.Process(lab.process.pid).net_connections("inet") if each.status == "LISTEN"]
    assert set(own) == {"127.0.0.1"}


def test_no_browser_is_sent_with_jupyterlab_s_token_to_an_address_where_others_can_listen(lab: Lab) -> None:
    """A browser looks for `localhost` at ::1, too."""
    assert lab.addresses() == {"127.0.0.1"}


def test_nobody_who_connects_to_a_kernel_is_told_what_it_prints(lab: Lab) -> None:
    lab.run("print('for the learner only')")
    (connection,) = lab.connections_of_kernels()
    keys = {"publickey": connection["curve_publickey"], "secretkey": connection["curve_secretkey"]}
    assert listens(connection["iopub_port"], **keys, serverkey=connection["curve_publickey"])
    assert not listens(connection["iopub_port"])
    public, secret = (key.decode() for key in zmq.curve_keypair())
    assert not listens(connection["iopub_port"], publickey=public, secretkey=secret, serverkey=public)


def listens(port: int, **keys: str) -> bool:
    """Whether who connects to a kernel's port, perhaps with keys, is told what it prints."""
    refused = {event for event in zmq.Event if "HANDSHAKE_FAILED" in str(event.name)} | {zmq.Event.DISCONNECTED}
    with zmq.Context() as context, context.socket(zmq.SUB) as stranger:
        for name, key in keys.items():
            setattr(stranger, f"curve_{name}", key.encode())
        with stranger.get_monitor_socket() as monitor:
            monitor.rcvtimeo = int(PATIENCE_SECONDS * 1000)
            stranger.connect(f"tcp://127.0.0.1:{port}")
            event = None
            while event != zmq.Event.HANDSHAKE_SUCCEEDED and event not in refused:
                event = zmq.Event(zmq.utils.monitor.recv_monitor_message(monitor)["event"])
            stranger.disable_monitor()
    return event not in refused


@pytest.mark.parametrize(
    ("end", "cell"),
    [
        *(pytest.param(end, OPENS["store"], id=f"store-{name}") for name, end in ENDS.items()),
        *(pytest.param(ENDS[name], OPENS["workers"], id=f"workers-{name}") for name in ("Ctrl-C", "SIGKILL")),
    ],
)
def test_jupyterlab_leaves_nothing_behind(lab: Lab, cell: str, end: Callable[[Lab], object], data_dir: Path) -> None:
    lab.run("from widget_store.lab import Store, Workers", cell, "opened.buy()")
    programs = " ".join(word for each in lab.family() for word in each.cmdline())
    assert "jupyterlab" in programs
    assert "ipykernel" in programs
    server = psutil.Process(int((data_dir / "data" / "postgres" / "postmaster.pid").read_text().split("\n")[0]))
    assert lives(server)
    end(lab)
    try:
        eventually(lambda: not lab.family(), "the end of all that belongs to JupyterLab")
    except AssertionError:
        pytest.fail(f"left behind: {[(each, each.cmdline()) for each in lab.family()]}")
    eventually(lambda: not lives(server), "the end of the database")
