"""The crash test, tried on the store itself, which must survive, and on broken checkouts, which must not."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support import ROOT, command, environment, eventually
from widget_store.database import Database
from widget_store.errors import AppFileError
from widget_store.lab.crash_run import Bench, Result, Verdict, run
from widget_store.lab.crash_test import Plan, Report, crash_test
from widget_store.lab.databases import open_databases
from widget_store.lab.scenarios import SCENARIOS
from widget_store.processes import warm_processes
from widget_store.settings import Settings

MUTANTS = ROOT / "tests" / "mutants"
SAMPLE = ["*/start */after", "*/2.*/effect/after", "http/send*/after", "*/end/status/before", "http/restock*"]


@pytest.fixture(scope="module")
def crash(new_database: Callable[[str], Database]) -> Callable[..., Report]:
    """Runs a crash test on a kind of database, one run at a time: the tests go side by side already."""

    def test(*scenarios: str, backend: str = "postgresql", app: Path | None = None, **plan: object) -> Report:
        chosen = tuple(SCENARIOS[name] for name in scenarios)
        settings = Settings(database_url=new_database(backend).url)
        return crash_test(Plan(app_file=app, scenarios=chosen, jobs=1, **plan), settings)  # type: ignore[arg-type]

    return test


def by_verdict(report: Report, verdict: Verdict) -> list[str]:
    return [result.point for result in report.results if result.verdict == verdict]


@pytest.mark.slow("kills a store at every crash point of a checkout")
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
@pytest.mark.parametrize(("scenario", "at_least"), [("paid", 90), ("declined", 30)])
def test_the_store_survives_every_crash_point(
    crash: Callable[..., Report], backend: str, scenario: str, at_least: int
) -> None:
    report = crash(scenario, backend=backend)
    assert report.failures == []
    assert len(report.results) >= at_least
    assert [result.point for result in report.results] == report.recorded[0].reached


@pytest.mark.slow("kills a store at some crash points of each scenario")
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
def test_the_store_survives_a_sample_of_the_other_scenarios(crash: Callable[..., Report], backend: str) -> None:
    others = [name for name in SCENARIOS if name not in {"paid", "declined"}]
    report = crash(*others, backend=backend, points=tuple(SAMPLE))
    assert report.failures == []
    assert {result.scenario for result in report.results} >= set(others) - {"crash during dispatch"}


@pytest.mark.slow("kills a store twice")
def test_the_store_survives_a_crash_of_its_recovery(crash: Callable[..., Report]) -> None:
    report = crash("sold out", points=("*/1.create_order/effect/before", "*/3.*/checkpoint/before"), pairs=True)
    assert report.failures == []
    pairs = [result.points for result in report.results if len(result.points) == 2]
    assert len(pairs) >= 8
    assert any(second.startswith("recovery/requeue") for _first, second in pairs)


@dataclass(frozen=True)
class Mutant:
    """A broken checkout: where it is caught, and which invariant says so.

    Attributes:
        tried: Patterns of the crash points to try.
        broken: All those of them at which it breaks; None when it breaks without any crash.
    """

    name: str
    scenario: str
    says: str
    tried: tuple[str, ...] = ()
    broken: tuple[str, ...] | None = None


def gap(step: str) -> tuple[str, ...]:
    """The crash points between a plain step's own commit and DBOS's record of it."""
    return f"{step}/effect/after", f"{step}/body/after", f"{step}/checkpoint/before"


CREATE, RESERVE = "checkout_workflow/1.create_order", "checkout_workflow/2.reserve_inventory"
CANCEL = "checkout_workflow/7.cancel_order"
UNDO, TICK = "checkout_workflow/6.undo_reserve_inventory", "dispatch_order_workflow/6.progress"
CAUGHT = [
    Mutant("plain_create", "declined", "settled", ("*/1.*", "*/2.*"), gap(CREATE)),
    Mutant("plain_reserve", "declined", "stock", ("*/1.*", "*/2.*"), gap(RESERVE)),
    Mutant("plain_progress", "paid", "dispatched", ("dispatch_*/6.*", "dispatch_*/7.*"), gap(TICK)),
    Mutant("double_compensation", "declined", "stock", ("*/6.*", "*/7.*"), gap(UNDO)),
    Mutant("missing_return", "sold out", "stock"),
    Mutant(
        "progress_in_two_statements",
        "paid",
        "dispatched",
        ("dispatch_*/20.*",),
        (
            "dispatch_order_workflow/20.progress/effect/after",
            "dispatch_order_workflow/20.progress/effect/before#2",
            "dispatch_order_workflow/20.progress/effect/after#2",
            "dispatch_order_workflow/20.progress/body/after",
            "dispatch_order_workflow/20.progress/checkpoint/before",
        ),
    ),
    Mutant(
        "order_id_from_memory",
        "declined",
        "settled",
        ("*/start*/after", "*/2.*/before", "*/7.cancel_order/effect/before"),
        (
            "checkout_workflow/2.reserve_inventory/effect/before",
            "checkout_workflow/2.reserve_inventory/checkpoint/before",
            "checkout_workflow/7.cancel_order/effect/before",
        ),
    ),
    Mutant("swallowed_late_payment", "payment after the timeout", "answers"),
    Mutant("effect_before_guard", "sold out", "workflows end"),
    Mutant("key_that_names_nothing", "double click", "orders"),
    Mutant(
        "random_outside_a_step",
        "declined",
        "workflows end",
        ("*/1.*/after", "*/3.*/after"),
        (
            "checkout_workflow/3.reserve_inventory/effect/after",
            "checkout_workflow/3.reserve_inventory/checkpoint/after",
        ),
    ),
    Mutant("event_before_its_commit", "paid", "answers"),
    Mutant("dispatch_in_a_thread", "paid", "dispatched"),
]


@pytest.mark.slow("kills a broken checkout where it breaks, and where it does not")
@pytest.mark.parametrize("mutant", CAUGHT, ids=lambda mutant: mutant.name)
def test_a_broken_checkout_is_caught_where_it_breaks_and_nowhere_else(
    crash: Callable[..., Report], mutant: Mutant
) -> None:
    report = crash(mutant.scenario, app=MUTANTS / f"{mutant.name}.py", points=mutant.tried or ("-",))
    if mutant.broken is None:
        assert [each.verdict for each in report.recorded] == [Verdict.BROKEN]
    else:
        assert [each.verdict for each in report.recorded] == [Verdict.SAFE], report.recorded
        assert set(by_verdict(report, Verdict.BROKEN)) == set(mutant.broken)
        assert len(report.results) > len(mutant.broken), "it was also tried where it does not break"
    for failure in report.failures:
        assert any(violation.startswith(mutant.says) for violation in failure.violations), failure


def test_every_mutant_is_tested() -> None:
    assert {mutant.name for mutant in CAUGHT} | {"plain_steps"} == {file.stem for file in MUTANTS.glob("*.py")}


@pytest.mark.slow("kills a store at every crash point of a checkout")
def test_plain_steps_break_in_each_gap_between_commit_and_checkpoint_and_nowhere_else(
    crash: Callable[..., Report],
) -> None:
    report = crash("declined", app=MUTANTS / "plain_steps.py")
    gaps = {point for step in (CREATE, RESERVE, UNDO) for point in gap(step)}
    assert set(by_verdict(report, Verdict.BROKEN)) == gaps
    assert set(by_verdict(report, Verdict.SAFE)) == set(report.recorded[0].reached) - gaps


# --- verdicts on files that do worse than break


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
    assert (nothing.returncode, "no crash point was tried" in nothing.stderr) == (1, True)


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
