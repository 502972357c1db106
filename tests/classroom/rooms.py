"""A workshop as an instructor starts it, and programs that run in its seats, for the tests."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fasteners
import httpx
import psutil
import pytest

from tests.browser.jupyter import free_port
from tests.machines.test_hostile_machines import packages
from tests.support import PATIENCE_SECONDS, ROOT, environment, eventually, lives, new_key
from widget_store.errors import WorkshopUnavailable

BRIDGE = Path("/sys/class/net/widget-class")
WORK = str(PurePosixPath("widget-store-course", "work", "mine.py"))
"""A file of a learner's, in a seat's home."""
INSIDE = Path(__file__).with_name("inside.py")
PARENT = Path("/var/lib")


def why_not() -> str | None:
    """Why no workshop can be started here; None when one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root can start a workshop, and only on Linux"
    from widget_store.classroom.machine import check_machine
    from widget_store.classroom.plan import Plan

    try:
        check_machine(Plan(PARENT / "widget-store-workshop-of-tests"))
    except WorkshopUnavailable as reason:
        return str(reason)
    return None


@dataclass
class Room:
    """A running workshop."""

    folder: Path
    url: str
    process: "subprocess.Popen[bytes]"
    output: Path

    @property
    def plan(self) -> Any:
        """What it is made of."""
        from widget_store.classroom.plan import load

        found = load(self.folder)
        assert found is not None
        return found

    def is_ready(self) -> bool:
        """Whether learners can log in."""
        if self.process.poll() is not None:
            if "network of its own" in self.output.read_text():
                pytest.skip(self.output.read_text())
            pytest.fail(f"the workshop ended: {self.output.read_text()}")
        return "ready http" in self.output.read_text()

    def does(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Another command for this workshop, run to its end."""
        return subprocess.run(
            [sys.executable, "-m", "widget_store", "workshop", "--folder", str(self.folder), *arguments],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE_SECONDS,
            check=False,
        )

    def ask(self, method: str, path: str, token: str | None = None) -> httpx.Response:
        """Ask the Hub, through its proxy; without a token, as the workshop itself."""
        headers = {"Authorization": f"token {token or self.plan.hub_token}"}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=PATIENCE_SECONDS, verify=False)  # noqa: S501

    def start_server(self, seat: str) -> None:
        """Start a seat's server, as its first page does, and wait until it answers."""
        if not self.has_server(seat):
            assert self.ask("POST", f"/hub/api/users/{seat}/server").status_code in {201, 202}
        eventually(lambda: self.has_server(seat), f"the server of {seat}")

    def has_server(self, seat: str) -> bool:
        """Whether a seat's server answers, as far as the Hub knows."""
        server = self.ask("GET", f"/hub/api/users/{seat}").json()["servers"].get("")
        return bool(server and server["ready"])

    def uid(self, seat: str) -> int:
        """The number of a seat's account."""
        import pwd

        return pwd.getpwnam(seat).pw_uid

    def processes(self, seat: str) -> list[psutil.Process]:
        """All that runs under a seat's account."""
        uid = self.uid(seat)
        every = psutil.process_iter(["uids"])
        return [each for each in every if each.info["uids"] and each.info["uids"].real == uid and lives(each)]

    def server(self, seat: str) -> psutil.Process:
        """A seat's server."""
        (found,) = [each for each in self.processes(seat) if "jupyterhub.singleuser" in each.cmdline()]
        return found

    def working_there(self) -> list[psutil.Process]:
        """The processes that work in its folder: the Hub with its services, and what one that was killed has left."""
        every = psutil.process_iter(["cwd"])
        return [each for each in every if str(each.info["cwd"]).startswith(str(self.folder)) and lives(each)]

    def inside(self, seat: str, *command: str) -> "subprocess.Popen[str]":
        """A program in a seat, with the environment of its server: what a learner could run in a terminal there."""
        server, uid = self.server(seat), self.uid(seat)
        words = [
            "setpriv",
            f"--reuid={uid}",
            f"--regid={uid}",
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set=-all",
        ]
        within = [f"--target={server.pid}", "--net", "--mount", "--ipc", "--"]
        python_path = os.pathsep.join([str(ROOT), *packages()])
        program = subprocess.Popen(
            ["nsenter", *within, *words, "--", sys.executable, "-P", str(INSIDE), *command],
            env=server.environ() | {"PYTHONPATH": python_path},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for group in self.groups(seat):
            (group / "cgroup.procs").write_text(str(program.pid))
        return program

    def groups(self, seat: str) -> list[Path]:
        """The control groups that a seat's server is in, of those that are the seat's own."""
        lines = Path(f"/proc/{self.server(seat).pid}/cgroup").read_text(encoding="utf-8").splitlines()
        found = [(controllers, place) for _, controllers, place in (line.split(":", 2) for line in lines)]
        own = [(controllers, place) for controllers, place in found if place.endswith(f"/{seat}")]
        return [Path("/sys/fs/cgroup") / controllers / place.lstrip("/") for controllers, place in own]


@contextlib.contextmanager
def workshop(*options: str) -> Iterator[Room]:
    """A workshop that is ready; stopped with the block, whatever happened in it.

    A machine has one at a time. Other processes of the tests wait for their turn.
    """
    with fasteners.InterProcessLock("/run/widget-store-tests.lock"):
        if BRIDGE.exists():
            pytest.skip("a workshop runs on this machine")
        with workshop_in(PARENT / f"widget-store-tests-{new_key()[:8]}", *options) as room:
            yield room


@contextlib.contextmanager
def workshop_in(folder: Path, *options: str) -> Iterator[Room]:
    """The same in a folder that may hold one that was kept, for a test whose turn it is already."""
    folder.mkdir(mode=0o711, exist_ok=True)
    port, output = free_port(), folder.with_name(f"{folder.name}-{new_key()[:8]}.log")
    with output.open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "widget_store", "workshop"),
                *("--folder", str(folder), "--port", str(port), *options),
            ],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    room = Room(folder, f"{'https' if '--certificate' in options else 'http'}://127.0.0.1:{port}", process, output)
    try:
        eventually(room.is_ready, "a workshop that is ready")
        yield room
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(3 * PATIENCE_SECONDS)
        if (folder / "plan.json").exists():
            room.does("--stop")
        shutil.rmtree(folder, ignore_errors=True)
        output.unlink()


def tell(program: "subprocess.Popen[str]", about: dict[str, Any]) -> dict[str, Any]:
    """Tell a program in a seat something, and read all that it says until its end."""
    said, _ = program.communicate(json.dumps(about), timeout=3 * PATIENCE_SECONDS)
    found: dict[str, Any] = json.loads(said)
    return found
