"""Whatever a learner's own workflow returns, raises or is called: no panel, table, map or timeline breaks on it."""

import io
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import ipywidgets as widgets
import pandas as pd
import pytest
import sqlalchemy as sa
from rich.console import Console

from tests.apps.strange_things import HOSTILE, NAMES, RAISED, RETURNED, Unspeakable
from tests.conftest import BACKENDS
from tests.support import ROOT, command, eventually, new_key
from widget_store.course.checks import Exercise
from widget_store.course.judging import function_in, must_be_equal
from widget_store.course.outcomes import Outcome
from widget_store.crashtest.crash_map import show, timeline
from widget_store.crashtest.results import Verdict
from widget_store.databases import Database
from widget_store.errors import WidgetStoreError
from widget_store.lab import Lab, Store, StoreRefused, Workers, WorkersPanel, crash_at, try_every_crash_point
from widget_store.lab.experiment import PointNotMet
from widget_store.lab.scenarios import Scenario
from widget_store.lab.timeline import draw, stories
from widget_store.plain_text import in_a_line, plain
from widget_store.schema import OrderStatus

pytestmark = pytest.mark.slow("each database has a store process of its own, which takes two seconds to start")

STRANGE = ROOT / "tests" / "apps" / "strange.py"
KEYS = [*RETURNED, "only-here", *RAISED, *NAMES]
TURNS_THE_LINE = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
WRITTEN_OUT = r"\x1b[31m"


@pytest.fixture(scope="module")
def store(database: Database) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WIDGET_STORE_DATABASE_URL", database.url)
        with Store(STRANGE) as running:
            yield running


@pytest.fixture(scope="module", params=BACKENDS)
def workers(request: pytest.FixtureRequest, new_database: Callable[[str], Database]) -> Iterator[Workers]:
    with Workers(1, STRANGE, database=new_database(request.param)) as running:
        yield running


def a_purchase(what: str) -> str:
    return f"{what}_{new_key()}"


def must_be_harmless(text: str) -> None:
    """Nothing that moves a cursor, changes a colour, rings, or turns the direction of a line; and no lone surrogate."""
    found = {each for each in text if unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"}} | set(
        text
    ) & TURNS_THE_LINE
    assert not found - {"\n", "\t"}, f"in {text[:500]!a}"


def must_be_harmless_html(text: str) -> None:
    must_be_harmless(text)
    assert "<script" not in text


def must_be_a_harmless_table(table: pd.DataFrame) -> None:
    with pd.option_context("display.max_colwidth", None, "display.max_columns", None, "display.max_rows", None):
        must_be_harmless(repr(table))
        must_be_harmless_html(table.to_html())


def must_be_a_harmless_panel(panel: widgets.Widget) -> None:
    for child in getattr(panel, "children", ()):
        must_be_a_harmless_panel(child)
    if isinstance(panel, widgets.HTML):
        must_be_harmless_html(panel.value)
    for words in ("description", "tooltip"):
        must_be_harmless(getattr(panel, words, None) or "")
    for label in getattr(panel, "_options_labels", ()):
        must_be_harmless(label)


# --- a store, its panel and its tables


@pytest.mark.parametrize("what", KEYS)
def test_the_panel_of_a_store_shows_what_a_workflow_did(
    store: Store, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "buy", partial(store.buy, a_purchase(what)))
    lab = Lab(store)
    lab.buy.click()
    if what in RAISED:
        assert "The store refused" in lab.message.value
        must_be_a_harmless_panel(lab)
    else:
        assert "Now pay, or decline" in lab.message.value
    lab.pay.click()
    must_be_a_harmless_panel(lab)
    assert "⚠ Error" not in lab.message.value
    assert "</svg>" in lab.timeline.value


@pytest.mark.parametrize("what", KEYS)
def test_the_tables_and_the_timeline_show_what_a_workflow_did(store: Store, what: str) -> None:
    key = a_purchase(what)
    try:
        assert store.buy(key) == key
    except StoreRefused as refusal:
        assert what in RAISED
        must_be_harmless(str(refusal))
    state = store.state
    steps = state.steps(key, timings=True)
    for table in (steps, state.workflows(), state.orders(), state.books().to_frame()):
        must_be_a_harmless_table(table)
    named = in_a_line(NAMES[what]) if what in NAMES else "create_order"
    assert named in list(steps["what"])
    assert key in state.workflows().index
    for story in stories(state):
        picture = draw(story, [])
        must_be_harmless_html(picture)
        ET.fromstring(picture)  # noqa: S314 - ours
    must_be_harmless(store.output)


@pytest.mark.parametrize("what", ["hostile", "raise-hostile", "dict"])
def test_a_step_s_result_is_shown_with_its_control_characters_written_out(store: Store, what: str) -> None:
    key = a_purchase(what)
    if what in RAISED:
        with pytest.raises(StoreRefused, match=re.escape(WRITTEN_OUT)):
            store.buy(key)
    else:
        store.buy(key)
    assert WRITTEN_OUT in store.state.steps(key)["result"].iloc[0]


def test_what_a_workflow_prints_and_raises_is_harmless_in_the_stores_output(store: Store) -> None:
    with pytest.raises(StoreRefused):
        store.buy(a_purchase("raise-hostile"))
    eventually(lambda: WRITTEN_OUT in store.output, "the workflow's exception in the store's output")
    must_be_harmless(store.output)


def test_no_look_at_a_value_that_cant_be_read_here_warns_below_the_learners_cell(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    key = store.buy(a_purchase("only-here"))
    assert len(store.state.steps(key)) == 3
    assert key in store.state.workflows().index
    assert not [entry for entry in caplog.records if entry.name == "dbos"]


@pytest.mark.parametrize("what", ["nothing", "empty"])
def test_a_create_order_without_a_return_is_told_as_that(store: Store, what: str) -> None:
    """The likeliest mistake of all."""
    store.buy(a_purchase(what))
    lab = Lab(store)
    assert "New order: create_order has returned no order id" in lab.timeline.value
    assert "⚠" not in lab.message.value + lab.timeline.value
    with pytest.raises(LookupError):
        store.state.steps_of_order(0)


# --- several workers


def test_several_workers_their_panel_and_their_tables_show_what_workflows_did(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = WorkersPanel(workers)

    def click(what: str) -> None:
        monkeypatch.setattr(workers, "buy", partial(Workers.buy, workers, a_purchase(what)))
        panel.buy.click()
        assert ("⚠ Refused" if what in RAISED else "You bought at") in panel.message.value
        must_be_a_harmless_panel(panel)

    click("raise-hostile")
    for what in KEYS:
        try:
            Workers.buy(workers, a_purchase(what))
        except StoreRefused as refusal:
            assert what in RAISED
            must_be_harmless(str(refusal))
    click("hostile")
    assert panel.orders.value.count(OrderStatus.CANCELLED.name) == len(NAMES)
    must_be_a_harmless_table(workers.orders())
    dispatches = workers.dispatches()
    assert any(WRITTEN_OUT in dispatch for dispatch in dispatches.index)
    must_be_a_harmless_table(dispatches)
    assert workers.dispatches_at(workers.names[0]) == {}
    with pytest.raises(WidgetStoreError, match="checkout_workflow has failed") as failed:
        workers.wait_until_idle()
    must_be_harmless(str(failed.value))


# --- crash tests


def buys(what: str, name: str = "", rule: str = "") -> Scenario:
    """A scenario of one customer, with what the strange checkout leaves; and with a rule that is never satisfied."""
    ends = {OrderStatus.CANCELLED: 1} if what in NAMES else {}
    rules = (lambda _connection: [rule],) if rule else ()
    return Scenario(
        name or what, lambda customer: customer.expect(customer.buy(what), 200, "buying"), ends, rules=rules
    )


@pytest.fixture
def on_sqlite(new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch) -> None:
    """What these show does not depend on the database; and a copy of SQLite's is made at once."""
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database("sqlite").url)


@pytest.mark.usefixtures("on_sqlite")
def test_one_crash_looked_at_closely_is_harmless() -> None:
    crash = crash_at("workflow */1.*/checkpoint/before", story=buys("named-hostile", rule=HOSTILE), app=STRANGE)
    assert WRITTEN_OUT in crash.story
    assert WRITTEN_OUT in crash.violations[0]
    for text in (repr(crash), crash.story, *crash.violations):
        must_be_harmless(text)
    for look in (*crash.left, crash.recovered):
        for table in (look.orders, look.workflows, look.checkpoints, look.books.to_frame(), *look.own_tables.values()):
            must_be_a_harmless_table(table)


@pytest.mark.usefixtures("on_sqlite")
@pytest.mark.parametrize("what", ["raise-hostile", "raise-unspeakable"])
def test_a_checkout_that_raises_is_told_without_harm(what: str) -> None:
    crash = crash_at(story=buys(what), app=STRANGE)
    assert crash.violations
    for text in (repr(crash), crash.story, *crash.violations):
        must_be_harmless(text)


@pytest.mark.usefixtures("on_sqlite")
def test_a_crash_point_that_is_not_met_is_told_with_those_that_are_without_harm() -> None:
    with pytest.raises(PointNotMet, match=re.escape(WRITTEN_OUT)) as not_met:
        crash_at(HOSTILE, story=buys("named-hostile"), app=STRANGE)
    must_be_harmless(str(not_met.value))


@pytest.mark.usefixtures("on_sqlite")
def test_a_map_of_crashes_is_harmless_whatever_steps_and_scenarios_are_called() -> None:
    names = ["named-hostile", "named-like-a-point", "named-like-a-command"]
    scenarios = [*map(buys, names), buys("raise-hostile"), buys("named-emoji", name=HOSTILE, rule=HOSTILE)]
    shown = try_every_crash_point(STRANGE, scenarios, ["workflow */checkpoint/before"])
    must_be_a_harmless_panel(shown)
    must_be_harmless(repr(shown))
    assert WRITTEN_OUT in shown.picture.value
    safe = {run.scenario for run in shown.report.results if run.verdict == Verdict.SAFE}
    assert safe == set(names), "their crash points were reached, and survived"
    shown.scenario.value = "named-hostile"
    shown.again.click()
    eventually(lambda: not shown.again.disabled, "the end of the run")
    assert WRITTEN_OUT in shown.story.value
    must_be_a_harmless_panel(shown)
    for run in (*shown.report.recorded, *shown.report.results):
        must_be_harmless(timeline(run))
    console = Console(file=io.StringIO(), width=80)
    show(shown.report, console)
    assert isinstance(console.file, io.StringIO)
    must_be_harmless(console.file.getvalue())


CAN_NOT_BE_RUN = f"raise ValueError({HOSTILE!r})"
RAISES_AND_BREAKS_ITS_OWN_RULE = f"""
from dbos import DBOS

INVARIANTS = [lambda connection: [{f"my own rule: {HOSTILE}"!r}]]

@DBOS.workflow()
def checkout_workflow(key):
    raise ValueError({HOSTILE!r})
"""


@pytest.mark.parametrize(
    ("program", "says"),
    [(CAN_NOT_BE_RUN, "app.py can't be run: ValueError: "), (RAISES_AND_BREAKS_ITS_OWN_RULE, "my own rule: ")],
    ids=["import", "workflow and rule"],
)
def test_the_command_prints_no_control_character_of_a_learners_file(program: str, says: str, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(program, encoding="utf-8")
    database = f"sqlite:///{tmp_path / 'store.sqlite'}"
    arguments = ["crash-test", "--app", str(app), "--scenario", "declined"]
    ended = command(*arguments, WIDGET_STORE_DATABASE_URL=database, PYTHONIOENCODING="utf-8")
    assert ended.returncode == 1
    printed = ended.stdout + ended.stderr
    must_be_harmless(printed)
    in_one_line = " ".join(printed.split())  # it was broken at the width of a terminal
    assert says + WRITTEN_OUT in in_one_line
    assert re.search(r"ValueError: \\+x1b\[31m", in_one_line)


# --- exercises


def test_a_check_of_an_answer_without_a_text_is_told_without_harm(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def judge(answer: object) -> str:
        must_be_equal(answer, {"status": 1})
        return "all is well"

    exercise = Exercise("an_exercise", "00", "asks", "hints", judge, takes_file=False)
    for answer in (Unspeakable(), HOSTILE, {"status": Unspeakable()}, {"status": HOSTILE}, {"status": "\ud83e"}):
        exercise(answer)
        said = capsys.readouterr().out
        assert said
        must_be_harmless(said)
        assert exercise.outcome(answer)[0] == Outcome.WRONG


def test_a_check_of_a_file_that_raises_is_told_without_harm(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "work" / "an_exercise.py"
    file.parent.mkdir()
    file.write_text(CAN_NOT_BE_RUN, encoding="utf-8")
    monkeypatch.setattr(Exercise, "file", file)
    monkeypatch.setattr(Exercise, "start_file", STRANGE)
    Exercise("an_exercise", "00", "asks", "hints", lambda at: str(function_in(at, "x")), takes_file=True)()
    said = capsys.readouterr().out
    assert WRITTEN_OUT in said
    must_be_harmless(said)


# --- a learner's own tables

ODD = '"<script>" \x1b[31m : :name %s %(name)s \\: 100%'


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    engine = database.engine(poolclass=sa.NullPool)
    own = sa.MetaData()
    yield engine
    own.reflect(engine)
    names = [name for name in own.tables if name in {ODD, "readable", "unreadable"}]
    own.drop_all(engine, [own.tables[name] for name in names])


def test_a_learners_table_is_shown_whole_and_without_harm(store: Store, engine: sa.Engine) -> None:
    table = sa.Table(
        ODD,
        sa.MetaData(),
        sa.Column("number", sa.Integer),
        sa.Column(ODD.replace("%", ""), sa.Text, key="odd"),
        sa.Column("long", sa.Text),
        sa.Column("bytes", sa.LargeBinary),
    )
    table.create(engine)
    rows: list[dict[str, object]] = [
        {"number": 1, "odd": HOSTILE, "long": "x" * 1_000_000, "bytes": b"\x1b[31m\0\xff"},
        {"number": 2, "odd": None, "long": "", "bytes": None},
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(table), rows)
    shown = store.state.own_tables()[ODD]
    assert list(shown.columns) == ["number", in_a_line(ODD.replace("%", "")), "long", "bytes"]
    assert shown.iloc[0].to_list() == [1, plain(HOSTILE), "x" * 1_000_000, b"\x1b[31m\0\xff"]
    assert shown.iloc[1].to_list() == [2, None, "", None]
    must_be_a_harmless_table(shown)


def test_a_table_that_cant_be_read_keeps_no_other_from_being_shown(store: Store, engine: sa.Engine) -> None:
    endless = "SELECT CAST(x'ff' AS TEXT) AS text" if engine.name == "sqlite" else "SELECT DATE 'infinity' AS day"
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE unreadable AS {endless}"))
        connection.execute(sa.text("CREATE TABLE readable AS SELECT 1 AS number"))
    tables = store.state.own_tables()
    assert tables["readable"]["number"].to_list() == [1]
    (words,) = tables["unreadable"]["this table can't be read"]
    assert "Error" in words
    must_be_a_harmless_table(tables["unreadable"])


def test_a_query_shows_no_control_character_in_columns_and_texts(store: Store) -> None:
    found = store.state.query('SELECT CAST(:text AS TEXT) AS "a\x1b"', text=HOSTILE)
    assert found.to_dict("list") == {r"a\x1b": [plain(HOSTILE)]}
    must_be_a_harmless_table(found)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has no schemas
def test_a_table_called_orders_elsewhere_is_not_the_stores(store: Store, engine: sa.Engine) -> None:
    before = store.state.orders()
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA elsewhere"))
        connection.execute(sa.text("CREATE TABLE elsewhere.orders AS SELECT 'mine' AS order_status"))
    assert store.state.orders().equals(before)
    assert "order_id" in store.state.query("SELECT * FROM orders").columns
    assert store.state.query("SELECT * FROM elsewhere.orders").to_numpy().tolist() == [["mine"]]
    assert "orders" not in store.state.own_tables()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # in SQLite, both are texts
def test_a_query_writes_out_control_characters_also_in_an_array_and_in_json(store: Store) -> None:
    sql = "SELECT ARRAY[CAST(:text AS TEXT)] AS list, json_build_object('key', CAST(:text AS TEXT)) AS json"
    found = store.state.query(sql, text=HOSTILE)
    assert found.iloc[0].to_list() == [[plain(HOSTILE)], {"key": plain(HOSTILE)}]
    must_be_a_harmless_table(found)
