"""JupyterLab and Notebook 7 on a copy of the course, as a learner's browser meets them."""

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import nbformat
import psutil
from playwright.sync_api import Locator, Page, expect

from tests.support import ROOT, eventually
from tests.tools.notebooks import NOTEBOOKS, environment_of
from widget_store.databases import stop_embedded_postgres

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # outputs that are out of sight are in the page, too
    "apputils-extension/themes": {"adaptive-theme": True},  # light or dark as the browser asks
}

# What of the page is ours: texts and outputs. The rest is Jupyter's, and so are the barriers in it.
OURS = ".jp-RenderedMarkdown, .jp-OutputArea-output"

FAILED = ", ".join(f'[data-mime-type="application/vnd.jupyter.{kind}"]' for kind in ("error", "stderr"))
"""Outputs that are errors, or words on stderr."""


@dataclass(frozen=True)
class FrontEnd:
    """A front end: the module that starts it, how it shows a notebook, and what else it is started with."""

    module: str
    notebook: str
    options: tuple[str, ...] = ()


LAB = FrontEnd(
    "jupyterlab",
    "lab/tree/{}?reset",  # and no other notebook, whatever was open before
    (  # as `widget-store lab` has them
        f"--LabApp.app_settings_dir={ROOT / 'widget_store' / 'jupyterlab'}",
        "--KernelManager.transport_encryption=auto",
    ),
)
NOTEBOOK_7 = FrontEnd("notebook", "notebooks/{}")


@dataclass(frozen=True)
class Jupyter:
    """A running front end, and the folder of the lessons it shows."""

    front_end: FrontEnd
    url: str
    course: Path

    def open(self, page: Page, lesson: str) -> Locator:
        """A notebook whose kernel is ready, with its first cell chosen."""
        page.goto(f"{self.url}/{self.front_end.notebook.format(f'{lesson}.ipynb')}")
        expect(page.locator(".jp-CodeCell")).not_to_have_count(0)
        page.locator(".jp-Notebook .jp-Cell").first.click()
        # The page says "idle" also before it is connected, and what is run then is lost.
        eventually(lambda: self._is_connected(lesson), f"a kernel that {lesson} is connected to")
        expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").first).to_be_visible()
        return page.locator(".jp-Notebook")

    def _is_connected(self, lesson: str) -> bool:
        kernels = [
            session["kernel"]
            for session in httpx.get(f"{self.url}/api/sessions").json()
            if session["path"] == f"{lesson}.ipynb"
        ]
        return any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels)

    def end_kernels(self) -> None:
        """A kernel that a failed test leaves would keep its store, and the next lesson could not reset the shelf."""
        api = f"{self.url}/api/sessions"
        for session in httpx.get(api).json():
            httpx.delete(f"{api}/{session['id']}").raise_for_status()

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/status").is_success
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def serving_notebooks(front_end: FrontEnd, course: Path) -> Iterator[Jupyter]:
    """A front end on a copied course, with a data folder of its own."""
    folder = course.parent
    for name, values in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    environment = {
        **environment_of(course),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    port = free_port()
    jupyter = Jupyter(front_end, f"http://127.0.0.1:{port}", course)
    command = [sys.executable, "-m", front_end.module, "--no-browser", f"--port={port}", "--allow-root"]
    command += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={course}"]
    log = folder / "jupyter.log"
    with (
        log.open("w") as output,
        subprocess.Popen([*command, *front_end.options], env=environment, stderr=output, stdout=output) as server,
    ):
        try:
            eventually(jupyter.answers, f"{front_end.module}, whose log is {log}")
            yield jupyter
        finally:
            family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            server.terminate()
            _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, f"left behind by {front_end.module}: {alive}"
    stop_embedded_postgres(folder / "data")  # a kernel that was shut down in mid-lesson leaves it running


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def choose(page: Page, menu: str, what: str) -> None:
    """Choose something in a menu."""
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menu").get_by_text(what, exact=True).click()


def run_to_panel(page: Page, lesson: str, panel: str) -> None:
    """Run the cells from the top to the first one that shows this panel, and wait for that one."""
    cells = nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4).cells
    place = next(place for place, cell in enumerate(cells) if panel in str(cell.get("outputs", "")))
    for _ in range(place + 1):
        page.keyboard.press("Shift+Enter")
    prompt = page.locator(".jp-Notebook .jp-Cell").nth(place).locator(".jp-InputPrompt")
    failed = page.locator(FAILED)  # of a cell above: then those below it are not run
    expect(prompt.filter(has_text=re.compile(r"\[\d+\]:")).or_(failed).first).to_be_visible()
    assert failed.all_inner_texts() == [], failed.all_inner_texts()


EVERYTHING, REST = "Run All Cells", "Run Selected Cell and All Below"


def run_all(page: Page, what: str = EVERYTHING) -> None:
    """Run all cells, or the rest of them; none may end with an error, or with words on stderr.

    The last one waits first: the number that it has in the end may be there from before.
    """
    choose(page, "Run", what)
    last = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
    failed = page.locator(FAILED)
    expect(last.filter(has_text="[*]").or_(failed).first).to_be_visible()
    expect(last.filter(has_text=re.compile(r"\[\d+\]:")).or_(failed).first).to_be_visible(timeout=240_000)
    assert failed.all_inner_texts() == [], failed.all_inner_texts()
