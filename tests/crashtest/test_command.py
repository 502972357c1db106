"""The command `widget-store crash-test FILE::WORKLOAD`: what it tells, and that it leaves nothing behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from tests.crashtest.small import BROKEN, SAFE, a_workload_file, an_app
from tests.support import INTERRUPTED, ROOT, command, environment, eventually, lives
from widget_store.databases import Database

STARTS = pytest.mark.slow("starts an application, twice or more")


@STARTS
def test_the_command_tells_by_its_status_in_json_and_in_junit(
    tmp_path: Path, new_database: Callable[[str], Database]
) -> None:
    database = new_database("sqlite")
    an_app(tmp_path, *BROKEN)
    target = f"{a_workload_file(tmp_path)}::OneCall"
    junit = tmp_path / "junit.xml"
    arguments = ["crash-test", target, "--json", "--junit", str(junit), "--point", "work/1.*/effect/*"]
    done = command(*arguments, WIDGET_STORE_DATABASE_URL=database.url)
    assert done.returncode == 1, done.stderr
    told = [(each["point"], each["verdict"]) for each in json.loads(done.stdout)["points"]]
    point = "work/1.add_in_a_step/effect"
    assert told == [(f"{point}/before", "safe"), (f"{point}/after", "broken")]
    suite = ET.parse(junit).getroot()  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1"), "the undisturbed run is one of the tests"
    (failed,) = suite.findall("testcase[failure]")
    assert (failed.get("classname"), failed.get("name")) == ("OneCall", f"{point}/after")


@STARTS
def test_the_command_refuses_points_that_are_not_there_and_says_which_are(
    tmp_path: Path, new_database: Callable[[str], Database]
) -> None:
    url = new_database("sqlite").url
    an_app(tmp_path, *SAFE)
    target = f"{a_workload_file(tmp_path)}::OneCall"
    done = command("crash-test", target, "--point", "*/tea/*", WIDGET_STORE_DATABASE_URL=url)
    assert done.returncode == 1
    assert "no crash point matches */tea/*. The crash points are:\n  call/start work" in done.stderr


def test_the_command_says_which_workloads_a_file_has(tmp_path: Path) -> None:
    done = command("crash-test", f"{a_workload_file(tmp_path)}::TwoCalls")
    assert done.returncode == 1
    assert "has no workload TwoCalls. It has: OneCall." in done.stderr


@contextlib.contextmanager
def a_test_that_goes_on(
    folder: Path, tmp_path: Path, url: str
) -> "Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]":
    """A crash test whose workflow waits for ever, and all its processes."""
    folder.mkdir()
    an_app(tmp_path, "here_before.touch()", "DBOS.recv('never', timeout_seconds=600)")
    target = f"{a_workload_file(tmp_path, 'time_limit = 600.0')}::OneCall"
    process = subprocess.Popen(
        [sys.executable, "-m", "widget_store", "crash-test", target],
        cwd=ROOT,
        env=environment(TMPDIR=str(folder), WIDGET_STORE_DATABASE_URL=url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        eventually((tmp_path / "here-before").exists, "a workflow under test")
        yield process, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow("starts an application, and ends it")
@pytest.mark.parametrize("ending", ["Ctrl-C", "SIGKILL"])
def test_a_crash_test_that_is_ended_leaves_no_process_and_no_folder_behind(
    ending: str, data_dir: Path, tmp_path: Path, new_database: Callable[[str], Database]
) -> None:
    with a_test_that_goes_on(data_dir, tmp_path, new_database("sqlite").url) as (process, family):
        assert len(family) > 1, "the application's process is one of them"
        if ending == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode in (INTERRUPTED if ending == "Ctrl-C" else {-signal.SIGKILL}), said
        eventually(lambda: not any(lives(each) for each in family), "the end of all its processes")
        eventually(lambda: not list(data_dir.iterdir()), "the end of its folders")


WITHOUT_JUPYTER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"IPython", "ipywidgets", "ipykernel", "nbformat", "pandas"} or top.startswith("jupyter"):
            raise ModuleNotFoundError(f"{name} is not installed")

sys.meta_path.insert(0, Blocked())
import importlib, pkgutil
import widget_store.crashtest as room
names = [each.name for each in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
for name in room.__all__:
    getattr(room, name)
print(len(names))
"""


@pytest.mark.slow("imports all of the room in a Python of its own")
def test_the_room_is_imported_where_no_jupyter_is_installed() -> None:
    program = [sys.executable, "-c", WITHOUT_JUPYTER]
    done = subprocess.run(program, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15
