"""The crash test itself: its verdicts on files that do worse than break, and its command."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support import ROOT, command, environment, eventually
from widget_store.database import Database
from widget_store.errors import AppFileError
from widget_store.lab.crash_run import Bench, Result, Verdict, run
from widget_store.lab.crash_test import Report
from widget_store.lab.databases import open_databases
from widget_store.lab.scenarios import SCENARIOS
from widget_store.processes import warm_processes
from widget_store.settings import Settings

MUTANTS = ROOT / "tests" / "mutants"
CREATE = "checkout_workflow/1.create_order"


def an_app(folder: Path, *lines: str, before: str = "") -> Path:
    file = folder / "app.py"
    body = "\n".join(f"    {line}" for line in lines)
    file.write_text(f"from dbos import DBOS\n{before}\n@DBOS.workflow()\ndef checkout_workflow(key):\n{body}\n")
    return file


def only_result(report: Report) -> Result:
    (result,) = [*report.recorded, *report.results]
    return result


@pytest.mark.slow("waits for a time limit")
def test_a_checkout_that_hangs_is_given_up(crash: Callable[..., Report], tmp_path: Path) -> None:
    result = only_result(crash("paid", app=an_app(tmp_path, "DBOS.recv('never', timeout_seconds=600)"), time_limit=3.0))
    assert result.verdict == Verdict.HUNG
    assert "not done within 3 s" in result.violations[0]


@pytest.mark.slow("starts a store")
def test_a_checkout_that_raises_is_broken_and_the_verdict_says_how(
    crash: Callable[..., Report], tmp_path: Path
) -> None:
    result = only_result(crash("paid", app=an_app(tmp_path, "raise RuntimeError('no widgets today')")))
    assert result.verdict == Verdict.BROKEN
    assert any("no widgets today" in violation for violation in result.violations)
    assert any("ended as ERROR" in violation for violation in result.violations)


@pytest.mark.slow("starts a store")
def test_a_checkout_that_does_nothing_is_broken(crash: Callable[..., Report], tmp_path: Path) -> None:
    result = only_result(crash("paid", app=an_app(tmp_path, "return key"), time_limit=10.0))
    assert result.verdict != Verdict.SAFE


@pytest.mark.slow("starts a store")
def test_a_file_that_can_not_be_run_is_told_at_once(crash: Callable[..., Report], tmp_path: Path) -> None:
    with pytest.raises(AppFileError, match="ZeroDivisionError"):
        crash("paid", app=an_app(tmp_path, "return key", before="1 / 0"))


@pytest.mark.slow("starts a store")
def test_an_authors_own_invariant_is_asked(crash: Callable[..., Report], tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(
        "import sqlalchemy as sa\n"
        "from widget_store.workflows import checkout_workflow\n"
        "def nobody_buys(connection):\n"
        "    count = connection.execute(sa.text('SELECT count(*) FROM orders')).scalar_one()\n"
        "    return [f'{count} order is too many'] if count else []\n"
        "INVARIANTS = [nobody_buys]\n"
    )
    result = only_result(crash("declined", app=file))
    assert (result.verdict, result.violations) == (Verdict.BROKEN, ["nobody_buys: 1 order is too many"])


@pytest.mark.slow("starts a store")
def test_a_point_that_is_not_reached_is_no_pass(new_database: Callable[[str], Database]) -> None:
    with open_databases(Settings(database_url=new_database("sqlite").url)) as databases:
        bench = Bench(warm_processes(), databases)
        bench.prepare()
        result = run(bench, SCENARIOS["sold out"], ("checkout_workflow/9.teatime/effect/before",))
    assert (result.verdict, result.violations) == (Verdict.NOT_REACHED, [])


# --- the command


@pytest.mark.slow("kills a store")
def test_the_command_prints_json_and_exits_with_1_for_a_violation(postgresql: Database) -> None:
    done = command(
        *("crash-test", "--app", str(MUTANTS / "plain_create.py"), "--scenario", "sold out"),
        *("--point", "*/1.create_order/effect/*", "--json"),
        WIDGET_STORE_DATABASE_URL=postgresql.url,
    )
    told = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert [(each["scenario"], each["point"], each["verdict"]) for each in told["points"]] == [
        ("sold out", f"{CREATE}/effect/before", "safe"),
        ("sold out", f"{CREATE}/effect/after", "broken"),
    ]
    assert told["seconds"] > 0


@pytest.mark.slow("kills a store")
def test_the_command_exits_with_0_when_all_is_safe_and_1_when_nothing_was_tried(postgresql: Database) -> None:
    arguments = ["crash-test", "--scenario", "sold out", "--point"]
    safe = command(*arguments, "*/1.create_order/effect/after", WIDGET_STORE_DATABASE_URL=postgresql.url)
    assert safe.returncode == 0, safe.stderr
    nothing = command(*arguments, "no such point", WIDGET_STORE_DATABASE_URL=postgresql.url)
    assert nothing.returncode == 1
    assert "none is like no such point. There are:\n  checkout_workflow/1.create_order" in nothing.stderr


@pytest.mark.slow("starts stores, and ends them")
def test_ctrl_c_leaves_no_process_and_no_folder_behind(data_dir: Path) -> None:
    data_dir.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "widget_store", "crash-test", "--scenario", "paid"],
        cwd=ROOT,
        env=environment(TMPDIR=str(data_dir)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    itself = psutil.Process(process.pid)
    eventually(lambda: len(_forked_by_its_fork_server(itself)) > 0, "a store under test")
    family = itself.children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "widget-store crash-test: stopped.")
    eventually(lambda: not any(each.is_running() for each in family), "the end of all its processes")
    assert list(data_dir.glob("crash-test-*")) == []


def _forked_by_its_fork_server(process: psutil.Process) -> list[psutil.Process]:
    """Its grandchildren by way of multiprocessing's fork server."""
    forked = []
    for each in process.children():
        with contextlib.suppress(psutil.Error):
            if "forkserver" in " ".join(each.cmdline()):
                forked += each.children()
    return forked
