"""The package, installed, is a whole course: one command in an empty folder, without git and make."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import nbformat
import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.browser.jupyter import free_port, run_all
from tests.notebooks.test_solved import said
from tests.support import ROOT, environment, eventually
from tests.tools.solved import solve
from tests.tools.wheel import build_wheel
from widget_store.course.files import FIRST_LESSON

pytestmark = [
    pytest.mark.browser,
    pytest.mark.thorough("installs the package and all it needs from the index"),
    pytest.mark.slow("installs the package and all it needs, and runs lessons", weight=12),
    pytest.mark.skipif(sys.platform == "win32", reason="an environment has its Python elsewhere there"),
]

COURSE = "Kurs #1, 100 % ü"
NOT_NEEDED = {"git", "make", "node", "npm", "uv", "conda"}
ON_WINDOWS = "WIDGET_STORE_AS_ON_WINDOWS"


@dataclass
class Machine:
    """A home folder with a Python environment in it, which has the package and nothing of the repository.

    Attributes:
        home: The folder of a person who has never used the course.
        python: The environment's Python.
    """

    home: Path
    python: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in environment().items() if not name.startswith(("PYTEST_", "PYTHON"))}
        path = f"{self.python.parent}{os.pathsep}{self.home / 'bin'}"
        return kept | {"HOME": str(self.home), "USERPROFILE": str(self.home), "PATH": path} | more

    def run(self, *command: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with this environment's Python, in the person's home."""
        return subprocess.run(
            [self.python, *command],
            cwd=self.home,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def files_of_the_package(self) -> set[Path]:
        (package,) = self.python.parents[1].rglob("site-packages/widget_store")
        return {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, follow_redirects=True).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def machine(public_folder: Path) -> Iterator[Machine]:
    home = public_folder / "a home (ü)"
    (home / "bin").mkdir(parents=True)
    for folder in map(Path, os.get_exec_path()):
        for tool in folder.iterdir() if folder.is_dir() else []:
            if tool.name not in NOT_NEEDED and not (home / "bin" / tool.name).is_symlink():
                (home / "bin" / tool.name).symlink_to(tool)
    venv.create(home / "environment", symlinks=True, with_pip=True)
    found = Machine(home, home / "environment" / "bin" / "python")
    locks = [word for lock in ("build", "lab", "embedded") for word in ("-r", ROOT / "requirements" / f"{lock}.txt")]
    pip = ("-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile")
    _must(found.run(*pip, "--require-hashes", *locks[:2]))  # a pip that takes these locks
    _must(found.run(*pip, "--require-hashes", *locks))
    _must(found.run(*pip, "--no-index", f"{build_wheel(public_folder)}[embedded]"))  # with nothing missing
    yield found
    _must(found.run("-m", "widget_store", "stop-database"))
    shutil.rmtree(home)


def _must(ended: "subprocess.CompletedProcess[str]") -> None:
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def lab_url(machine: Machine) -> Iterator[str]:
    """Where JupyterLab answers: the learner has given one command in an empty folder."""
    empty = machine.home / "empty"
    empty.mkdir()
    settings = empty.parent / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}')  # outputs that are out of sight are in the page, too
    address = f"http://127.0.0.1:{free_port()}"
    command = [str(machine.python), "-m", "widget_store", "lab", COURSE, "--no-browser"]
    command += ["--port", address.rpartition(":")[2]]
    command += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    log = machine.home / "jupyterlab.log"
    surroundings = machine.environment(JUPYTERLAB_SETTINGS_DIR=str(machine.home / "settings"))
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=empty, env=surroundings, stdout=output, stderr=output) as server,
    ):
        eventually(lambda: _answers(f"{address}/lab"), f"JupyterLab, whose log is {log}")
        yield address
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.terminate()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, f"left behind by JupyterLab: {alive}"
    assert log.read_text().startswith(f"The course is in {empty / COURSE}.\n")
    assert [path.name for path in empty.iterdir()] == [COURSE]


def test_the_first_lesson_is_open_and_clean_and_runs_to_its_end(lab_url: str, machine: Machine, page: Page) -> None:
    for tool in ("git", "make"):
        assert shutil.which(tool, path=machine.environment()["PATH"]) is None
    installed = machine.files_of_the_package()
    page.goto(lab_url)
    expect(page).to_have_url(f"{lab_url}/lab/tree/{FIRST_LESSON}")
    expect(page.locator(".jp-CodeCell")).not_to_have_count(0)
    expect(page.get_by_text(re.compile(r"Python 3.*\| *Idle")).first).to_be_visible()
    expect(page.locator(".jp-OutputArea-output")).to_have_count(0)
    picture = page.locator(".jp-RenderedMarkdown img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.naturalWidth") > 0
    run_all(page)
    expect(page.get_by_text("Everything the lessons need is here.")).to_be_visible()
    expect(page.get_by_text("Not attempted yet").first).to_be_visible()
    for session in httpx.get(f"{lab_url}/api/sessions").json():
        httpx.delete(f"{lab_url}/api/sessions/{session['id']}").raise_for_status()
    assert machine.files_of_the_package() == installed, "a lesson writes into the learner's folder only"


@pytest.mark.parametrize(
    ("lesson", "windows"),
    [
        pytest.param("01_a_fragile_checkout", "", id="01_a_fragile_checkout-here"),
        pytest.param("04_crash_lab", "1", id="04_crash_lab-as on Windows", marks=pytest.mark.nightly("once more")),
    ],
)
def test_a_lesson_of_the_copy_is_solved(lesson: str, windows: str, machine: Machine) -> None:
    course = machine.home / f"course {windows}"
    _must(machine.run("-m", "widget_store", "lab", course, "--fresh", lesson, "--version"))
    notebook = nbformat.read(course / f"{lesson}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    solve(notebook, ROOT / "notebooks")
    nbformat.write(notebook, course / f"{lesson}.ipynb")
    convert = ("-m", "nbconvert", "--to", "notebook", "--execute", "--output", "done.ipynb")
    _must(machine.run(*convert, course / f"{lesson}.ipynb", **({ON_WINDOWS: windows} if windows else {})))
    done = nbformat.read(course / "done.ipynb", as_version=4)
    verdicts = [said(cell, "stdout") for cell in done.cells if re.match(r"check\.\w+\(", cell.source)]
    assert verdicts
    assert [verdict for verdict in verdicts if not verdict.startswith("✔")] == []
    told = machine.run("-m", "widget_store", "progress", course)
    assert re.search(r"^[1-9]\d* of \d+ solved", told.stdout, re.MULTILINE), told.stdout
