"""The Hub of a workshop: JupyterHub as a process, and what the workshop asks of it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

from widget_store.classroom.plan import GATEWAY, Plan
from widget_store.errors import WorkshopUnavailable
from widget_store.system.interrupts import OUT_OF_REACH

_CONFIGURATION = Path(__file__).with_name("jupyterhub_config.py")
_READY_WITHIN_SECONDS = 120.0
_ANSWERS_WITHIN_SECONDS = 90.0
_ENDED_WITHIN_SECONDS = 20.0
_LOOK_EVERY_SECONDS = 0.1
_LAST_WORDS = 15  # lines of the log
_NODE_OF_DEBIAN = "/usr/share/nodejs"  # the libraries of Debian's proxy: a node from elsewhere does not look there


class Hub:
    """The Hub as a process: `start` it first of all."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._log = plan.folder / "hub.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until learners can log in.

        Raises:
            WorkshopUnavailable: When it ends instead; it shows what the Hub said last.
        """
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig=TERM", "--", sys.executable, "-P", "-m", "jupyterhub", "-f", _CONFIGURATION],
                cwd=self._plan.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **OUT_OF_REACH,
            )
        deadline = time.monotonic() + _READY_WITHIN_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_WORDS:]
                raise WorkshopUnavailable(
                    "\n".join([f"The Hub did not start. Its log, {self._log}, ends with:", *said])
                )
            time.sleep(_LOOK_EVERY_SECONDS)

    def revive(self) -> None:
        """Start it again if it was killed; the seats' servers have gone on meanwhile."""
        if self._process is not None and self._process.poll() is not None:
            self.start()

    def stop(self) -> None:
        """Stop it, its proxy and all seats' servers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        """Whether the Hub answers, and its proxy leads there."""
        with contextlib.suppress(httpx.TransportError, WorkshopUnavailable):
            ask(self._plan, "GET", "/info")
            # Whether the certificate is for this name, the learners' browsers see: here it is our own machine.
            return httpx.get(f"{self._plan.url}/hub/health", verify=False).is_success  # noqa: S501
        return False

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WIDGET_STORE_", "JUPYTER"))}
        bin_folder = str(Path(sys.executable).parent)
        return kept | {
            "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", os.defpath), "/usr/sbin:/sbin"]),
            "NODE_PATH": os.pathsep.join(filter(None, [os.environ.get("NODE_PATH"), _NODE_OF_DEBIAN])),
            "WIDGET_STORE_WORKSHOP": str(self._plan.folder),
        }


def end_what_is_left(folder: Path) -> None:
    """End a Hub of this folder that outlives its workshop, with its proxy and its services."""
    every = psutil.process_iter(["cwd", "cmdline"])
    words = ("jupyterhub", "configurable-http-proxy")
    left = [
        process
        for process in every
        if process.info["cwd"] == str(folder) and any(word in " ".join(process.info["cmdline"] or []) for word in words)
    ]
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        _, left = psutil.wait_procs(left, timeout=_ENDED_WITHIN_SECONDS)


def ask(plan: Plan, method: str, path: str, accept: tuple[int, ...] = ()) -> httpx.Response:
    """Ask the running Hub for something, by its REST interface.

    Args:
        plan: The workshop.
        method: The method of HTTP.
        path: What stands behind `/hub/api` in the address.
        accept: Statuses that are right, too: 404 for what was not there, for example.

    Raises:
        WorkshopUnavailable: When it refuses, or does not answer.
    """
    try:
        answer = httpx.request(
            method,
            f"http://{GATEWAY}:{plan.hub_port}/hub/api{path}",
            headers={"Authorization": f"token {plan.hub_token}"},
            timeout=_ANSWERS_WITHIN_SECONDS,
        )
    except httpx.TransportError as failure:
        raise WorkshopUnavailable(
            f"The Hub does not answer: {failure}.\nIf it was killed, it is being started again: try again in a moment. "
            f"Its log is {plan.folder / 'hub.log'}."
        ) from None
    if not answer.is_success and answer.status_code not in accept:
        raise WorkshopUnavailable(f"The Hub refused {method} {path}: {answer.status_code} {answer.text[:200]}")
    return answer


def stop_server(plan: Plan, name: str) -> None:
    """Stop a seat's server, and wait until it has ended.

    Raises:
        WorkshopUnavailable: When it does not end.
    """
    deadline = time.monotonic() + _ANSWERS_WITHIN_SECONDS
    while ask(plan, "DELETE", f"/users/{name}/server", accept=(400, 404)).status_code == httpx.codes.ACCEPTED:
        if time.monotonic() > deadline:
            raise WorkshopUnavailable(f"The server of {name} does not stop.")
        time.sleep(_LOOK_EVERY_SECONDS)
