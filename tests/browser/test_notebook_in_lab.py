"""The notebooks in a real JupyterLab: their cells are run, their buttons are clicked."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import nbformat
import psutil
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support import ROOT
from tests.tools.solved import solve
from tests.tools.store_notebooks import NOTEBOOKS, all_notebooks, copied_course, environment_of
from widget_store.databases import stop_embedded_postgres

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # outputs that are out of sight are in the page, too
    "apputils-extension/themes": {"adaptive-theme": True},  # light or dark as the browser asks
}

LESSONS = [path.stem for path in all_notebooks()]
CLICKED = {"00_start_here", "01_a_fragile_checkout", "04_crash_lab", "09_many_workers"}
"""The lessons whose buttons are clicked. After that, they are run from top to bottom, too."""

# What of the page is ours: texts and outputs. The rest is JupyterLab's, and so are the barriers in it.
OURS = ".jp-RenderedMarkdown, .jp-OutputArea-output"

pytestmark = [pytest.mark.browser, pytest.mark.slow("a JupyterLab, a kernel and a store are started")]


@pytest.fixture(scope="module")
def course(public_folder: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(public_folder))
        with copied_course() as folder:
            yield folder


@pytest.fixture(scope="module")
def lab_url(course: Path) -> Iterator[str]:
    """A JupyterLab on a copy of the notebooks, with a data folder of its own."""
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
    address = f"http://127.0.0.1:{port}/lab"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--allow-root"]
    command += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={course}"]
    command += [f"--LabApp.app_settings_dir={ROOT / 'widget_store' / 'jupyterlab'}"]  # as `widget-store lab` has it
    log = folder / "jupyterlab.log"
    with log.open("w") as output, subprocess.Popen(command, env=environment, stderr=output, stdout=output) as server:
        wait_until(lambda: answers(address), "JupyterLab", log)
        yield address
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.terminate()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, f"left behind by JupyterLab: {alive}"
    stop_embedded_postgres(folder / "data")  # a kernel that was shut down in mid-lesson leaves it running


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
        assert time.monotonic() < deadline, f"waited for {what} in vain:\n{log.read_text(encoding='utf-8')}"
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def _kernels_end_with_their_test(lab_url: str) -> Iterator[None]:
    """A kernel that a failed test leaves would keep its store, and the next lesson could not reset the shelf."""
    yield
    api = f"{lab_url.removesuffix('/lab')}/api/sessions"
    for session in httpx.get(api).json():
        httpx.delete(f"{api}/{session['id']}").raise_for_status()


@pytest.fixture(autouse=True)
def _nothing_is_done_yet(course: Path) -> None:
    """Each lesson must do without the files of another."""
    for file in (course / "work").glob("*.py"):
        file.unlink()


def open_lesson(page: Page, lab_url: str, lesson: str) -> Locator:
    """A notebook whose kernel is ready, with its first cell chosen."""
    page.goto(f"{lab_url}/tree/{lesson}.ipynb?reset")  # and no other notebook, whatever was open before
    expect(page.locator(".jp-CodeCell")).not_to_have_count(0)
    page.locator(".jp-Notebook .jp-Cell").first.click()
    expect(page.get_by_text(re.compile(r"Python 3.*\| *Idle")).first).to_be_visible()
    return page.locator(".jp-Notebook")


def run_to_panel(page: Page, lesson: str, panel: str) -> None:
    """Run the cells from the top to the first one that shows this panel, and wait for that one."""
    cells = nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4).cells
    place = next(place for place, cell in enumerate(cells) if panel in str(cell.get("outputs", "")))
    for _ in range(place + 1):
        page.keyboard.press("Shift+Enter")
    prompt = page.locator(".jp-Notebook .jp-Cell").nth(place).locator(".jp-InputPrompt")
    expect(prompt).to_have_text(re.compile(r"\[\d+\]:"))


def run_all(page: Page) -> None:
    """Run all cells; none of them may end with an error, or with words on stderr.

    The last one waits first: the number that it has in the end may be there from before.
    """
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    last = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
    failed = page.locator(
        ", ".join(f'[data-mime-type="application/vnd.jupyter.{kind}"]' for kind in ("error", "stderr"))
    )
    expect(last.filter(has_text="[*]").or_(failed).first).to_be_visible()
    expect(last.filter(has_text=re.compile(r"\[\d+\]:")).or_(failed).first).to_be_visible(timeout=240_000)
    assert failed.all_inner_texts() == []


def take_pictures(page: Page, folder: Path, name: str) -> None:
    """The whole notebook for a person to look at: wide and narrow, light and dark."""
    for width in (1400, 800):
        page.set_viewport_size({"width": width, "height": 1000})
        height = page.locator(".jp-WindowedPanel-outer").first.evaluate("panel => panel.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(16_000, height + 200)})
        page.locator(".jp-Notebook .jp-Cell").first.scroll_into_view_if_needed()
        for scheme in ("dark", "light"):  # each is a change, which JupyterLab is told of
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("body")).to_have_attribute("data-jp-theme-light", str(scheme == "light").lower())
            expect(page.locator("#jupyterlab-splash")).to_have_count(0)
            page.screenshot(path=folder / f"{name}-{width}-{scheme}.png")
    page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_learner_buys_crashes_and_pays_with_the_buttons_and_then_runs_the_rest(
    lab_url: str, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    run = open_lesson(page, lab_url, "00_start_here")
    expect(run.locator(".jp-CodeCell .cm-lineWrapping")).not_to_have_count(0)  # so that a projector shows all of a line
    run_to_panel(page, "00_start_here", "Lab:")

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
    run_all(page)
    assert barriers(page, OURS) == ""


@pytest.mark.thorough("runs another lesson")
@pytest.mark.parametrize("lesson", [lesson for lesson in LESSONS if lesson not in CLICKED])
def test_a_lesson_runs_from_top_to_bottom_and_keeps_nobody_out(
    lab_url: str, page: Page, lesson: str, barriers: Callable[[Page, str], str]
) -> None:
    open_lesson(page, lab_url, lesson)
    run_all(page)
    assert barriers(page, OURS) == ""


@pytest.fixture(params=LESSONS)
def solved(request: pytest.FixtureRequest, course: Path) -> str:
    """A lesson in which every exercise is done."""
    lesson = f"solved_{request.param}"
    notebook = nbformat.read(course / f"{request.param}.ipynb", as_version=4)
    solve(notebook, course)
    nbformat.write(notebook, course / f"{lesson}.ipynb")
    return lesson


@pytest.mark.pictures
def test_a_solved_lesson_has_its_pictures_taken(
    lab_url: str, page: Page, solved: str, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    open_lesson(page, lab_url, solved)
    run_all(page)
    assert barriers(page, OURS) == ""
    take_pictures(page, screenshots, solved)


@pytest.mark.thorough("clicks in another lesson")
def test_a_plain_checkout_takes_the_money_and_loses_the_order(
    lab_url: str, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    lesson = open_lesson(page, lab_url, "01_a_fragile_checkout")
    run_to_panel(page, "01_a_fragile_checkout", "Lab:")
    page.get_by_role("button", name="Buy a widget").click()
    expect(lesson.get_by_text("Now pay, or decline.")).to_be_visible()
    page.get_by_role("button", name="Crash").click()
    expect(lesson.get_by_text("The serving process was killed.")).to_be_visible()
    page.get_by_role("button", name="Pay").click()
    expect(lesson.get_by_role("alert").filter(has_text="The store refused: There is no payment")).to_be_visible()
    page.screenshot(path=screenshots / "fragile-checkout-clicked.png")
    run_all(page)
    assert barriers(page, OURS) == ""


@pytest.mark.thorough("clicks in another lesson")
def test_a_prediction_is_compared_with_a_crash(
    lab_url: str, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    lesson = open_lesson(page, lab_url, "04_crash_lab")
    run_to_panel(page, "04_crash_lab", "CrashLab:")
    lesson.get_by_label("Story").select_option("declined")
    lesson.get_by_label("Kill it").select_option("in reserve_inventory: its work committed, DBOS's record of it not")
    lesson.get_by_label("Order").select_option("PENDING")
    lesson.get_by_label("On the shelf").fill("100")
    lesson.get_by_label("On the shelf").press("Tab")
    page.get_by_role("button", name="Crash here").click()
    said = lesson.get_by_role("status").filter(has_text="predictions were right")
    expect(said).to_have_text("1 of 2 predictions were right. And every invariant holds in the end.")
    expect(lesson.get_by_role("region", name="process 2")).to_be_visible()
    assert barriers(page, OURS) == ""
    for width in (800, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        page.get_by_role("button", name="Crash here").scroll_into_view_if_needed()
        page.screenshot(path=screenshots / f"crash-lab-clicked-{width}.png")
    run_all(page)
    assert barriers(page, OURS) == ""


@pytest.mark.thorough("clicks in another lesson")
def test_a_survivor_finishes_the_orders_of_a_worker_that_was_killed_by_a_click(
    lab_url: str, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    lesson = open_lesson(page, lab_url, "09_many_workers")
    run_to_panel(page, "09_many_workers", "WorkersPanel:")
    for _ in range(2):
        page.get_by_role("button", name="Buy a widget").click()
    for _ in range(2):
        page.get_by_role("button", name="Pay").click()
    page.get_by_role("button", name="Kill worker-2").click()
    expect(lesson.get_by_text("worker-2 was killed, and nobody starts it again.")).to_be_visible()
    expect(lesson.get_by_text("✖ is dead")).to_be_visible()
    assert barriers(page, OURS) == ""
    page.screenshot(path=screenshots / "workers-clicked.png")
    orders = lesson.get_by_role("table", name="Orders, newest first")
    expect(orders.get_by_role("row", name=re.compile("^4 DISPATCHED worker-1$"))).to_be_visible()
    run_all(page)
    assert barriers(page, OURS) == ""
