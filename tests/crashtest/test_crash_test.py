"""The crash test of any application: nothing is falsely safe, and nothing hangs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from tests.crashtest.small import BROKEN, SAFE, Work, an_app, work
from tests.support import eventually
from widget_store.crashtest import App, Plan, Report, Result, Verdict, Workload, crash_test
from widget_store.crashtest.recorder import Answer, Recorder, Request
from widget_store.databases import Database
from widget_store.dbos_internals import registered_workflows, workflows_step_aside
from widget_store.errors import AppFileError
from widget_store.settings import Settings

STARTS = pytest.mark.slow("starts an application, twice or more")
NONE = ("no such point",)
Test = Callable[..., Report]


@pytest.fixture
def crash(new_database: Callable[[str], Database]) -> Test:
    def test(workload: Workload, *points: str, backend: str = "sqlite", **plan: object) -> Report:
        settings = Settings(database_url=new_database(backend).url)
        return crash_test(replace(Plan((workload,), points or ("*",), jobs=1), **plan), settings)  # type: ignore[arg-type]

    return test


def undisturbed(report: Report) -> Result:
    (result,) = report.recorded
    return result


# --- nothing is falsely safe


@STARTS
def test_a_workload_that_asks_for_nothing_has_no_crash_points_and_that_is_no_pass(crash: Test, tmp_path: Path) -> None:
    class Nothing(Work):
        def drive(self, app: App) -> None:
            pass

    nothing = Nothing()
    nothing.app = an_app(tmp_path, *SAFE)
    report = crash(nothing)
    assert (report.untried, report.results, report.is_safe) == (["Nothing"], [], False)
    assert [each["verdict"] for each in report.as_json()["points"]] == ["not_reached"]


@STARTS
def test_an_application_that_is_missing_is_told(crash: Test, tmp_path: Path) -> None:
    with pytest.raises(AppFileError, match=r"There is no Python file .*nowhere\.py"):
        crash(work(tmp_path / "nowhere.py"))
    with pytest.raises(AppFileError, match="The module no_such_module can't be imported"):
        crash(work("no_such_module"))


@STARTS
def test_an_application_that_cannot_be_imported_is_told_with_its_exception(crash: Test, tmp_path: Path) -> None:
    with pytest.raises(AppFileError, match="can't be run: ZeroDivisionError"):
        crash(work(an_app(tmp_path, *SAFE, before="1 / 0")))


@STARTS
def test_a_workflow_that_is_not_there_is_told_with_those_that_are(crash: Test, tmp_path: Path) -> None:
    result = undisturbed(crash(work(an_app(tmp_path, *SAFE), asked_for="wrok"), *NONE))
    assert result.verdict == Verdict.BROKEN
    assert any("There is no workflow wrok. There are: work." in each for each in result.violations), result.violations


@STARTS
def test_a_template_with_workflows_in_it_is_refused(crash: Test, tmp_path: Path) -> None:
    file = an_app(tmp_path, *SAFE)
    file.write_text(f"{file.read_text()}\nDBOS.launch()\nDBOS.start_workflow(work)\n")
    with pytest.raises(AppFileError, match="Work: the application started workflows before it was asked to"):
        crash(work(file))


@STARTS
def test_an_application_that_launches_dbos_when_it_is_imported_is_tested_as_it_is(crash: Test, tmp_path: Path) -> None:
    file = an_app(tmp_path, *BROKEN)
    file.write_text(f"{file.read_text()}\nDBOS.launch()\n")
    report = crash(work(file), "*/1.*")
    assert undisturbed(report).verdict == Verdict.SAFE, undisturbed(report)
    assert {each.point for each in report.failures} == {
        f"work/1.add_in_a_step/{place}" for place in ("effect/after", "body/after", "checkpoint/before")
    }


@pytest.mark.slow("waits for a time limit")
def test_an_application_without_a_main_guard_that_blocks_is_given_up_and_told(
    crash: Test, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widget_store.crashtest.run._LAUNCHED_WITHIN_SECONDS", 3.0)
    file = an_app(tmp_path, *SAFE)
    file.write_text(f"{file.read_text()}\nprint('serving for ever', flush=True)\ntime.sleep(600)\n")
    with pytest.raises(AppFileError, match=r"(?s)not ready within 3 s.*__main__.*serving for ever"):
        crash(work(file, time_limit=3.0))


@STARTS
def test_two_undisturbed_runs_with_a_random_value_in_a_table_differ_and_it_is_named(
    crash: Test, tmp_path: Path
) -> None:
    random_value = "CREATE TABLE IF NOT EXISTS luck AS SELECT 1 AS id, random() AS number"
    app = an_app(tmp_path, "add()", before=f"ADD = sa.text({random_value!r})")
    result = undisturbed(crash(work(app), *NONE))
    assert result.verdict == Verdict.BROKEN
    assert "the second of two undisturbed runs differs: table luck" in result.violations[0]
    assert "name it in `ignore`" in result.violations[-1]
    assert undisturbed(crash(work(app, ignore=("luck.number",)), *NONE)).verdict == Verdict.SAFE


@STARTS
def test_a_step_that_comes_only_sometimes_is_named(crash: Test, tmp_path: Path) -> None:
    app = an_app(tmp_path, "if not here_before.exists():", "    here_before.touch()", "    add_with_retries()", "add()")
    result = undisturbed(crash(work(app, ignore=("counter",)), *NONE))
    assert result.verdict == Verdict.BROKEN
    told = "only one of two undisturbed runs came to work/1.add_with_retries/effect/before"
    assert told in result.violations


@STARTS
def test_a_drive_that_raises_is_told(crash: Test, tmp_path: Path) -> None:
    class Clumsy(Work):
        def drive(self, app: App) -> None:
            super().drive(app)
            raise KeyError("no such account")

    clumsy = Clumsy()
    clumsy.app = an_app(tmp_path, *SAFE)
    result = undisturbed(crash(clumsy, *NONE))
    assert result.verdict == Verdict.BROKEN
    assert any("drive: raised" in each and "no such account" in each for each in result.violations)


@pytest.mark.slow("waits for a time limit")
def test_a_workflow_that_never_ends_is_given_up(crash: Test, tmp_path: Path) -> None:
    result = undisturbed(
        crash(work(an_app(tmp_path, "DBOS.recv('never', timeout_seconds=600)"), time_limit=4.0), *NONE)
    )
    assert result.verdict == Verdict.HUNG
    assert "not finished within 4 s" in result.violations[0]


@STARTS
def test_a_workflow_that_ends_with_an_error_is_broken_unless_it_may(crash: Test, tmp_path: Path) -> None:
    app = an_app(tmp_path, "add()", "raise ValueError('the account is closed')")
    result = undisturbed(crash(work(app), *NONE))
    assert result.verdict == Verdict.BROKEN
    assert any("work w-1 ended as ERROR: ValueError('the account is closed')" in each for each in result.violations)
    allowed = crash(work(app, may_fail=("work",)), "work/*/checkpoint/before")
    assert [each.verdict for each in [*allowed.recorded, *allowed.results]] == [Verdict.SAFE] * 2


@STARTS
def test_what_is_to_be_seen_sometimes_and_never_is_fails_the_search(crash: Test, tmp_path: Path) -> None:
    report = crash(work(an_app(tmp_path, *SAFE), sometimes=("a refund",)), "work/1.*/before")
    assert (report.never_seen, report.failures, report.is_safe) == (["a refund"], [], False)


@STARTS
def test_a_schedule_that_goes_on_by_itself_comes_to_rest(crash: Test, tmp_path: Path) -> None:
    class Ticking(Work):
        on_launch = "start_the_clock"
        time_limit = 12.0

        def drive(self, app: App) -> None:
            app.start("work", "w-1")
            ticks = sa.text("SELECT count(*) FROM dbos.workflow_status WHERE name = 'tick'")
            eventually(lambda: app.connection.execute(ticks).scalar_one(), "a tick")

    ticking = Ticking()
    ticking.app = an_app(
        tmp_path,
        *SAFE,
        before="@DBOS.workflow()\n"
        "def tick(at, context):\n"
        "    DBOS.sleep(1.5)\n\n"  # before it ends, there is the next
        "def start_the_clock():\n"
        "    DBOS.apply_schedules([{'schedule_name': 's', 'workflow_fn': tick, 'schedule': '* * * * * *'}])\n",
    )
    result = undisturbed(crash(ticking, *NONE))
    assert result.verdict != Verdict.HUNG, result
    assert not any("ended as" in each for each in result.violations), result.violations


# --- effects outside


@STARTS
def test_the_runs_of_two_workloads_side_by_side_do_not_see_each_others_effects(
    new_database: Callable[[str], Database], tmp_path: Path
) -> None:
    """Each effect's number is the workflow's result, so a foreign one would make it another."""
    app = an_app(tmp_path, "return say('hello')")
    first, second = work(app), type("SecondWork", (Work,), {"app": app})()
    plan = Plan((first, second), points=("*/checkpoint/after",), jobs=2)
    report = crash_test(plan, Settings(database_url=new_database("sqlite").url))
    assert {each.scenario for each in report.results} == {"Work", "SecondWork"}
    assert report.failures == []


def test_an_effect_is_noted_once_for_a_key_again_without_one_and_not_when_it_was_refused() -> None:
    recorder = Recorder()
    try:
        with (
            recorder.for_a_run(lambda request: Answer(402 if request.path == "/no" else 200, request.number)) as a_run,
            recorder.for_a_run(lambda request: Answer(200, request.number)) as (_other, others),
        ):
            url, log = a_run
            for path, key in [("/a", "k-1"), ("/a", "k-1"), ("/b", ""), ("/b", ""), ("/no", "")]:
                httpx.post(f"{url}{path}", headers={"Idempotency-Key": key} if key else {})
            assert [(each.path, each.key) for each in log.effects] == [("/a", "k-1"), ("/b", ""), ("/b", "")]
            assert others.effects == []
        assert httpx.get(url).status_code == 404
    finally:
        recorder.close()


@STARTS
def test_an_answer_that_raises_is_told(crash: Test, tmp_path: Path) -> None:
    class Clumsy(Work):
        def answer(self, request: Request) -> Answer:
            raise KeyError(request.path)

    clumsy = Clumsy()
    clumsy.app = an_app(tmp_path, "say('hello')")
    result = undisturbed(crash(clumsy, *NONE))
    assert result.verdict == Verdict.BROKEN
    assert any("answer: raised KeyError: '/hello'" in each for each in result.violations), result.violations


@STARTS
def test_each_run_answers_with_a_copy_of_the_workload_that_may_remember_and_see(crash: Test, tmp_path: Path) -> None:
    class Counting(Work):
        sometimes = ("a call",)
        calls = 0

        def answer(self, _request: Request) -> Answer:
            self.calls += 1
            self.saw("a call")
            return Answer(200, {"number": self.calls})

    counting = Counting()
    counting.app = an_app(tmp_path, "return say('hello')")
    report = crash(counting, "work/*/checkpoint/after")
    assert [each.verdict for each in [*report.recorded, *report.results]] == [Verdict.SAFE] * 2, report.failures
    assert (report.never_seen, counting.calls) == ([], 0)


# --- tables wherever they are


@STARTS
def test_tables_in_a_schema_of_their_own_are_compared_too(crash: Test, tmp_path: Path) -> None:
    class InASchema(Work):
        def set_up(self, db: sa.Connection) -> None:
            db.execute(sa.text("CREATE SCHEMA bank"))
            db.execute(sa.text("CREATE TABLE bank.counter (n INTEGER)"))
            db.execute(sa.text("INSERT INTO bank.counter VALUES (0)"))

    in_a_schema = InASchema()
    in_a_schema.app = an_app(tmp_path, *BROKEN)
    in_a_schema.app.write_text(in_a_schema.app.read_text().replace("UPDATE counter", "UPDATE bank.counter"))
    report = crash(in_a_schema, "work/1.*/effect/after", backend="postgresql")
    assert [each.violations[0].partition(",")[0] for each in report.failures] == [
        "table bank.counter: has (n 2)",
    ]


@STARTS
def test_an_application_that_names_another_schema_for_dbos_is_not_looked_for_in_the_wrong_one(
    crash: Test, tmp_path: Path
) -> None:
    app = an_app(tmp_path, *BROKEN)
    app.write_text(app.read_text().replace('{"name": "small",', '{"name": "small", "dbos_system_schema": "other",'))
    report = crash(work(app), "work/1.*/effect/after", backend="postgresql")
    assert [each.verdict for each in report.results] == [Verdict.BROKEN], report.recorded


def test_an_application_may_have_a_workflow_with_a_name_of_the_shops() -> None:
    """A notebook's processes are forked from one that has imported the shop, and knows its workflows."""
    import widget_store.workflows  # noqa: F401 - for its workflows

    registered = registered_workflows()
    shops = registered["checkout_workflow"]
    with workflows_step_aside("widget_store"):
        assert "checkout_workflow" not in registered
        registered["checkout_workflow"] = its_own = object()
    assert registered["checkout_workflow"] is its_own
    assert "dispatch_order_workflow" in registered
    registered["checkout_workflow"] = shops


@STARTS
def test_a_workload_that_asks_for_nothing_at_all_is_told(crash: Test, tmp_path: Path) -> None:
    class Silent(Workload):
        app = an_app(tmp_path, *SAFE)

    with pytest.raises(AppFileError, match=r"Silent has no drive\(self, app\)"):
        crash(Silent())
