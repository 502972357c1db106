"""Notebook 00 in a real JupyterLab: its cells are run, its buttons are clicked."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # outputs that are out of sight are in the page, too
    "apputils-extension/notification": {"fetchNews": "false"},  # no prompt over the page
    "apputils-extension/themes": {"adaptive-theme": True},  # light or dark as the browser asks
}

# What of the page is ours: texts and outputs. The rest is JupyterLab's, and so are the barriers in it.
OURS = ".jp-RenderedMarkdown, .jp-OutputArea-output"

pytestmark = [pytest.mark.browser, pytest.mark.slow("a JupyterLab, a kernel and a store are started")]


@pytest.fixture(scope="module")
def lab_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab on a copy of the notebooks, with a data folder of its own."""
    folder = tmp_path_factory.mktemp("jupyterlab")
    shutil.copytree(NOTEBOOKS, folder / "notebooks", ignore=shutil.ignore_patterns("work"))
    for name, values in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    environment = {
        **os.environ,
        "WIDGET_STORE_DATA_DIR": str(folder / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    port = free_port()
    address = f"http://127.0.0.1:{port}/lab"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--allow-root"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    log = folder / "jupyterlab.log"
    with log.open("w") as output, subprocess.Popen(command, env=environment, stderr=output, stdout=output) as server:
        wait_until(lambda: answers(address), "JupyterLab", log)
        yield address
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.terminate()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, f"left behind by JupyterLab: {alive}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str) -> bool:
    try:
        return httpx.get(address, follow_redirects=True).is_success
    except httpx.TransportError:
        return False


def wait_until(is_so: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, f"waited for {what} in vain:\n{log.read_text()}"
        time.sleep(0.1)


def test_a_learner_buys_crashes_and_pays_with_the_buttons_and_then_runs_the_rest(
    lab_url: str, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    page.goto(f"{lab_url}/tree/00_start_here.ipynb")
    run = page.locator(".jp-Notebook")
    expect(page.locator(".jp-CodeCell")).not_to_have_count(0)
    page.locator(".jp-Notebook .jp-Cell").first.click()
    expect(page.get_by_text(re.compile(r"Python 3.*\| *Idle")).first).to_be_visible()
    _run_cells(page, 7)

    page.get_by_role("button", name="Buy a widget").click()
    expect(run.get_by_text("Now pay, or decline.")).to_be_visible()
    page.get_by_role("button", name="Pay").click()
    expect(run.get_by_text("Paid: order 1 is being dispatched.")).to_be_visible()
    expect(run.get_by_role("img", name=re.compile("Order 1: DISPATCHED.* No crash"))).to_be_visible()

    page.get_by_role("button", name="Buy a widget").click()
    expect(run.get_by_text("Now pay, or decline.")).to_be_visible()
    page.get_by_role("button", name="Crash").click()
    expect(run.get_by_text("The serving process was killed.")).to_be_visible()
    page.get_by_role("button", name="Pay").click()
    expect(run.get_by_text("Paid: order 2 is being dispatched.")).to_be_visible()
    expect(run.get_by_role("img", name=re.compile("Order 2: DISPATCHED.* One crash"))).to_be_visible()
    for width in (800, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        page.get_by_role("button", name="Crash").scroll_into_view_if_needed()
        page.screenshot(path=screenshots / f"lab-after-a-crash-{width}.png")

    assert barriers(page, OURS) == ""

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    executed = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[\d+\]:"))
    failed = page.locator(
        ", ".join(f'[data-mime-type="application/vnd.jupyter.{kind}"]' for kind in ("error", "stderr"))
    )
    expect(executed.or_(failed).first).to_be_visible(timeout=120_000)
    assert failed.all_inner_texts() == []


def _run_cells(page: Page, count: int) -> None:
    for _ in range(count):
        page.keyboard.press("Shift+Enter")
