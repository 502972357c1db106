"""The crash test itself: its verdicts on files that do worse than break, and its command."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from tests.support import INTERRUPTED, ROOT, command, environment, eventually, lives
from widget_store.crashtest.results import Report, Result, Verdict
from widget_store.crashtest.run import Rig, run
from widget_store.crashtest.workload import Workload
from widget_store.databases import Database, server_pid
from widget_store.databases.throwaway import open_databases
from widget_store.errors import AppFileError
from widget_store.lab.crash_test import Plan, Runs, crash_test
from widget_store.lab.scenarios import SCENARIOS, Customer, Scenario
from widget_store.schema import OrderStatus
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


def test_ctrl_c_while_the_first_process_starts_is_only_that(
    new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_process: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", interrupted)
    with (
        open_databases(Settings(database_url=new_database("sqlite").url)) as databases,
        pytest.raises(KeyboardInterrupt),
    ):
        Runs(databases)


@pytest.mark.slow("waits for a time limit")
def test_a_checkout_that_hangs_is_given_up(crash: Callable[..., Report], tmp_path: Path) -> None:
    result = only_result(crash("paid", app=an_app(tmp_path, "DBOS.recv('never', timeout_seconds=600)"), time_limit=3.0))
    assert result.verdict == Verdict.HUNG
    assert "not finished within 3 s" in result.violations[0]


@pytest.mark.thorough("many crash points")
@pytest.mark.slow("kills a store at each crash point of two steps, twice")
def test_what_stops_at_the_first_unsafe_run_ends_with_it(
    crash: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"app": MUTANTS / "plain_reserve.py", "points": ("*/1.*", "*/2.*", "*/[67].*")}
    all_of_it = crash("declined", **plan).results
    first = next(place for place, result in enumerate(all_of_it) if result.verdict != Verdict.SAFE)
    assert first + 1 < len(all_of_it), "there is more behind it"
    begun: list[tuple[str, ...]] = []

    def note_and_run(rig: Rig, workload: Workload, points: tuple[str, ...] = (), **more: Any) -> Any:
        begun.append(points)
        return run(rig, workload, points, **more)

    monkeypatch.setattr("widget_store.crashtest.search.run", note_and_run)
    stopped = crash("declined", **plan, to_the_end=False).results
    assert [(each.point, each.verdict) for each in stopped] == [(e.point, e.verdict) for e in all_of_it[: first + 1]]
    assert len(begun) <= 1 + (first + 1) + 1, "the recording, these, and the one that began meanwhile"


@pytest.mark.slow("starts a store")
def test_stories_that_fail_undisturbed_are_all_told_and_no_point_is_tried(
    crash: Callable[..., Report], tmp_path: Path
) -> None:
    app = an_app(tmp_path, "raise RuntimeError('no widgets today')")
    report = crash("paid", "declined", app=app, to_the_end=False)
    assert [(run.scenario, run.verdict) for run in report.recorded] == [("paid", "broken"), ("declined", "broken")]
    assert report.results == []


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
def test_a_process_that_dies_by_itself_is_no_pass(crash: Callable[..., Report], tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(
        "import os, pathlib\n"
        "from widget_store import workflows\n"
        "from dbos import DBOS\n"
        "here_before = pathlib.Path(__file__).with_name('here-before')\n"
        "@DBOS.step()\n"
        "def die_once():\n"
        "    if not here_before.exists():\n"
        "        here_before.touch()\n"
        "        os._exit(3)\n"
        "@DBOS.workflow()\n"
        "def checkout_workflow(key):\n"
        "    die_once()\n"
        "    return workflows.checkout_workflow.__wrapped__(key)\n"
    )
    result = only_result(crash("sold out", backend="sqlite", app=file, points=()))
    assert result.verdict == Verdict.BROKEN
    assert any("it died by itself, once" in violation for violation in result.violations), result


@pytest.mark.slow("starts a store, and takes hundreds of steps")
def test_a_checkout_of_many_steps_is_heard_to_its_end(crash: Callable[..., Report], tmp_path: Path) -> None:
    """Each step tells of four crash points, while the one who asked for the checkout waits for its answer."""
    file = tmp_path / "app.py"
    file.write_text(
        "from widget_store import workflows\n"
        "from dbos import DBOS\n"
        "@DBOS.step()\n"
        "def step(): pass\n"
        "@DBOS.workflow()\n"
        "def checkout_workflow(key):\n"
        "    for _ in range(400): step()\n"
        "    return workflows.checkout_workflow.__wrapped__(key)\n"
    )
    result = only_result(crash("sold out", backend="sqlite", app=file, points=(), time_limit=60.0))
    assert result.verdict == Verdict.SAFE, result.violations
    assert len(result.reached) > 1600


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
    with (
        open_databases(Settings(database_url=new_database("sqlite").url)) as databases,
        contextlib.closing(Runs(databases)) as runs,
    ):
        result = runs.play(SCENARIOS["sold out"], ("checkout_workflow/9.teatime/effect/before",))
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
    assert "matches no such point. The crash points are:\n  checkout_workflow/1.create_order" in nothing.stderr


@pytest.mark.slow("kills a store")
def test_a_point_that_nobody_came_by_is_told_beside_those_that_are_safe(crash: Callable[..., Report]) -> None:
    report = crash("sold out", backend="sqlite", points=(f"{CREATE}/effect/after", "checkout_workflow/*.tea/*"))
    assert [result.verdict for result in report.results] == [Verdict.SAFE]
    assert report.never_met == ["checkout_workflow/*.tea/*"]
    assert ("checkout_workflow/*.tea/*", "not_reached") in [
        (each["point"], each["verdict"]) for each in report.as_json()["points"]
    ]


@pytest.mark.slow("starts stores, and ends them")
def test_ctrl_c_leaves_no_process_and_no_folder_behind(data_dir: Path, tmp_path: Path) -> None:
    """Also while a store is asked for something that takes longer than anybody waits."""
    with a_test_that_goes_on(data_dir, tmp_path) as (process, family):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        _, said = process.communicate(timeout=60)
        assert process.returncode in INTERRUPTED, said
        assert said.splitlines()[-1] == "widget-store crash-test: stopped."
        eventually(lambda: not any(lives(each) for each in family), "the end of all its processes")
        assert list(data_dir.glob("crash-test-*")) == []


@pytest.mark.slow("starts stores, and ends them")
def test_a_crash_test_that_is_killed_leaves_no_process_no_database_and_no_folder_behind(
    data_dir: Path, tmp_path: Path
) -> None:
    with a_test_that_goes_on(data_dir, tmp_path) as (process, family):
        (folder,) = data_dir.glob("crash-test-*")
        server = psutil.Process(server_pid(folder / "postgres"))
        process.kill()
        process.communicate(timeout=60)
        eventually(lambda: not any(lives(each) for each in [*family, server]), "the end of all its processes")
        eventually(lambda: not list(data_dir.iterdir()), "the end of its folders, multiprocessing's too")


@contextlib.contextmanager
def a_test_that_goes_on(
    data_dir: Path, tmp_path: Path
) -> "Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]":
    """A crash test whose store waits for ever, and all its processes."""
    data_dir.mkdir()
    hangs = an_app(tmp_path, "DBOS.recv('never', timeout_seconds=600)")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "widget_store",
            "crash-test",
            "--scenario",
            "paid",
            "--app",
            str(hangs),
            "--time-limit",
            "600",
        ],
        cwd=ROOT,
        env=environment(TMPDIR=str(data_dir)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    itself = psutil.Process(process.pid)
    try:
        eventually(lambda: len(_its_stores(itself)) > 0, "a store under test")
        yield process, itself.children(recursive=True)
    finally:
        process.kill()
        process.wait()


def _its_stores(process: psutil.Process) -> list[psutil.Process]:
    """Forked by multiprocessing's fork server; or, as on Windows, interpreters of their own."""
    stores = []
    for each in process.children():
        with contextlib.suppress(psutil.Error):
            command = " ".join(each.cmdline())
            if "spawn_main" in command:
                stores.append(each)
            elif "forkserver" in command:
                stores += each.children()
    return stores


@pytest.mark.slow("starts a store")
def test_a_point_that_is_not_what_the_scenario_is_about_was_not_tried(crash: Callable[..., Report]) -> None:
    report = crash("crash during dispatch", points=("checkout_workflow/*",))
    assert report.results == []
    assert report.never_met == ["checkout_workflow/*"]


@pytest.mark.thorough("many crash points")
@pytest.mark.slow("kills stores at each point of a recovery")
def test_pairs_begin_with_whatever_point_was_asked_for(crash: Callable[..., Report]) -> None:
    report = crash("sold out", points=(f"{CREATE}/effect/after",), pairs=True)
    assert {len(result.points) for result in report.results} == {1, 2}
    assert report.failures == []


def _buys_and_fills_the_shelf_by_an_endpoint_of_its_own(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    customer.expect(customer.post("/restock"), 200, "restocking")
    customer.expect(customer.post("/no-such-endpoint"), 200, "asking for what is not there")
    customer.expect(customer.pay("anna"), 200, "paying")


@pytest.mark.slow("starts a store")
def test_a_scenario_may_call_any_endpoint_and_have_rules_of_its_own(new_database: Callable[[str], Database]) -> None:
    how_many = sa.text("SELECT count(*) FROM orders")
    story = Scenario(
        "my own",
        _buys_and_fills_the_shelf_by_an_endpoint_of_its_own,
        {OrderStatus.DISPATCHED: 1},
        rules=(lambda connection: [f"orders seen: {connection.scalar(how_many)}"],),
    )
    report = crash_test(Plan(scenarios=(story,), points=()), Settings(database_url=new_database("postgresql").url))
    (result,) = report.recorded
    assert result.violations == [
        'answers: asking for what is not there was answered with 404, \'{"detail":"Not Found"}\'',
        "orders seen: 1",
    ]


@pytest.mark.slow("starts a store")
def test_a_file_that_takes_no_part_in_a_purchase_is_not_tested_with_the_stores_own_checkout(
    crash: Callable[..., Report], tmp_path: Path
) -> None:
    file = tmp_path / "transfers.py"
    file.write_text(
        "from dbos import DBOS\n"
        "from fastapi import APIRouter\n"
        "router = APIRouter()\n"
        "@DBOS.workflow()\n"
        "def transfer(amount): pass\n"
        "@router.post('/transfers')\n"
        "def start(): transfer(1)\n"
    )
    with pytest.raises(AppFileError, match="takes no part in a purchase"):
        crash("paid", backend="sqlite", app=file)
