"""Crash tests in pytest: one test a crash point, in one process and in several."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.crashtest.small import BROKEN, SAFE, a_workload_file, an_app
from tests.support import PATIENCE_SECONDS, ROOT, environment
from widget_store.databases import Database

pytestmark = pytest.mark.slow("starts a pytest, which starts applications")
THOROUGH = pytest.mark.thorough("one of many sessions of pytest, of seconds each")
NIGHTLY = pytest.mark.nightly("very much like the one in one process")
ALONE, SIDE_BY_SIDE = pytest.param((), id="alone"), ("-n", "2")
Pytest = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_pytest(tmp_path: Path, new_database: Callable[[str], Database]) -> Pytest:
    """Runs pytest in a folder, as somebody does who has installed the package."""
    plugin = [] if _is_installed() else ["-p", "widget_store.crashtest.plugin"]

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:randomly", *plugin, *arguments],
            cwd=tmp_path,
            env=environment(WIDGET_STORE_DATABASE_URL=new_database("sqlite").url, PYTHONPATH=path),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    return run


def _is_installed() -> bool:
    from importlib.metadata import entry_points

    return any(each.value == "widget_store.crashtest.plugin" for each in entry_points(group="pytest11"))


@pytest.mark.parametrize("xdist", [ALONE, pytest.param(SIDE_BY_SIDE, id="side by side", marks=THOROUGH)])
def test_each_crash_point_is_a_test_and_a_failure_says_how_to_see_it_again(
    run_pytest: Pytest, tmp_path: Path, xdist: tuple[str, ...]
) -> None:
    an_app(tmp_path, *BROKEN)
    file = a_workload_file(tmp_path)
    done = run_pytest("--crash-points", "*/1.*/effect/*", "--junitxml", "junit.xml", *xdist)
    assert done.returncode == 1, done.stdout
    assert "2 passed" in done.stdout, done.stdout
    assert "1 failed" in done.stdout, done.stdout
    assert f'widget-store crash-test "{file}::OneCall" --point "work/1.add_in_a_step/effect/after"' in done.stdout
    assert "table counter: has (n 2), which a run without a crash has not" in done.stdout
    cases = ET.parse(tmp_path / "junit.xml").iter("testcase")  # noqa: S314 - our own
    places = ("undisturbed", "work/1.add_in_a_step/effect/before", "work/1.add_in_a_step/effect/after")
    assert {each.get("name") for each in cases} == {f"test_no_crash_matters[{each}]" for each in places}


@THOROUGH
@pytest.mark.parametrize("xdist", [ALONE, pytest.param(SIDE_BY_SIDE, id="side by side")])
def test_what_no_run_has_seen_fails_the_session(run_pytest: Pytest, tmp_path: Path, xdist: tuple[str, ...]) -> None:
    an_app(tmp_path, *SAFE)
    a_workload_file(tmp_path, "sometimes = ('a refund',)", "only = '*/effect/*'")
    done = run_pytest(*xdist)
    assert "3 passed" in done.stdout, done.stdout
    assert "CRASH TEST of OneCall: no run has seen “a refund”" in done.stdout
    assert done.returncode == 1


@THOROUGH
@pytest.mark.parametrize("xdist", [ALONE, pytest.param(SIDE_BY_SIDE, id="side by side", marks=NIGHTLY)])
def test_what_a_run_has_seen_is_enough(run_pytest: Pytest, tmp_path: Path, xdist: tuple[str, ...]) -> None:
    an_app(tmp_path, *SAFE)
    check = "def check(self, db): self.saw('a refund'); return ()"
    a_workload_file(tmp_path, "sometimes = ('a refund',)", "only = '*/effect/*'", check)
    done = run_pytest(*xdist)
    assert (done.returncode, "no run has seen" in done.stdout) == (0, False), done.stdout


@THOROUGH
@pytest.mark.parametrize("xdist", [ALONE, pytest.param(SIDE_BY_SIDE, id="side by side", marks=NIGHTLY)])
def test_crash_points_that_are_not_there_are_an_error_with_those_that_are(
    run_pytest: Pytest, tmp_path: Path, xdist: tuple[str, ...]
) -> None:
    an_app(tmp_path, *SAFE)
    a_workload_file(tmp_path)
    done = run_pytest("--crash-points", "*/tea/*", *xdist)
    assert done.returncode not in (0, 5), done.stdout
    said = done.stdout + done.stderr
    assert "OneCall has no crash point like */tea/*. Its crash points:" in said
    assert "work/1.add/effect/before" in said


@THOROUGH
def test_an_application_that_is_broken_without_a_crash_is_one_failed_test(run_pytest: Pytest, tmp_path: Path) -> None:
    an_app(tmp_path, "raise ValueError('the account is closed')")
    a_workload_file(tmp_path)
    done = run_pytest("-k", "undisturbed")
    assert done.returncode == 1, done.stdout
    assert "the account is closed" in done.stdout


@THOROUGH
def test_a_workload_that_asks_for_nothing_is_an_error(run_pytest: Pytest, tmp_path: Path) -> None:
    an_app(tmp_path, *SAFE)
    file = a_workload_file(tmp_path)
    file.write_text(file.read_text().replace('app.start("work", "w-1")', "pass"))
    done = run_pytest()
    assert done.returncode not in (0, 5), done.stdout
    assert "OneCall has no crash point like *. Its crash points:" in done.stdout + done.stderr


@THOROUGH
def test_an_application_that_is_not_there_fails_the_session(run_pytest: Pytest, tmp_path: Path) -> None:
    a_workload_file(tmp_path)
    done = run_pytest()
    assert done.returncode not in (0, 5)
    assert "OneCall can't be tested: There is no Python file" in done.stdout + done.stderr


@THOROUGH
def test_a_test_without_the_argument_crash_is_told_so(run_pytest: Pytest, tmp_path: Path) -> None:
    an_app(tmp_path, *SAFE)
    file = a_workload_file(tmp_path)
    file.write_text(file.read_text().replace("(crash)", "()"))
    done = run_pytest()
    assert done.returncode not in (0, 5)
    assert "the test needs an argument `crash`" in done.stdout + done.stderr
