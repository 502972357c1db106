"""Workflows that an older version stored, and was killed in, against new versions of its text."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from tests.support import NEVER_ANSWERS, ROOT, command, environment, eventually, new_key
from widget_store.crashtest.replay import NoDatabaseNamed, ReplayedWorkflow, ReplayReport, replay
from widget_store.databases import Database, superuser
from widget_store.errors import AppFileError, DatabaseUnavailable

APP = Path(__file__).parent / "apps" / "parcels.py"
OLD = APP.read_text(encoding="utf-8")
KILLED_AFTER = {"send_parcel": 10, "compare_carriers": 3, "return_parcel": 2, "lose_parcel": 1}
"""The old version's workflows, and the number of checkpoints after which their process is killed."""
UNDER_WAY = {"send_parcel", "compare_carriers"}
STARTS_A_PYTHON = pytest.mark.slow("a replay is a new Python that imports DBOS")


@dataclass(frozen=True)
class Stored:
    """What the old version left: its database, and the effects of its steps."""

    database: Database
    folder: Path

    def variables(self) -> dict[str, str]:
        urls = {"PARCELS_URL": self.database.system_url, "PARCELS_DATA_URL": self.database.url}
        return {**urls, "EFFECTS": str(self.folder / "effects")}

    def effects(self) -> list[str]:
        return (self.folder / "effects").read_text(encoding="utf-8").splitlines()

    def replay(self, text: str, **more: Any) -> ReplayReport:
        return replay(self.new_version(text), **more)

    def new_version(self, text: str) -> Path:
        file = self.folder / f"parcels_{new_key()}.py"
        file.write_text(text, encoding="utf-8")
        return file

    def rows(self) -> dict[str, list[str]]:
        """Every row of every table, of DBOS's and of the application's database."""
        found = {}
        for engine in (self.database.system_engine(), self.database.engine()):
            schemas = [None] if self.database.is_sqlite else ["dbos", "public"]
            with engine.connect() as connection:
                for schema in schemas:
                    metadata = sa.MetaData(schema=schema)
                    metadata.reflect(connection)
                    for table in metadata.sorted_tables:
                        name = f"{engine.url.database} {table.fullname}"
                        found[name] = sorted(str(row) for row in connection.execute(sa.select(table)))
            engine.dispose()
        return found


@pytest.fixture(scope="module")
def stored(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """The old version, killed by SIGKILL in the midst of its workflows; this process's environment is as at its run."""
    old = Stored(database, tmp_path_factory.mktemp("parcels"))
    processes = [_started(old, name) for name in KILLED_AFTER]
    try:
        eventually(
            lambda: all(_checkpoints(database, name) >= enough for name, enough in KILLED_AFTER.items()),
            "checkpoints of all workflows",
        )
        eventually(lambda: len(_ended(database)) == 4, "the ends of four workflows")
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in old.variables().items():
            patch.setenv(name, value)
        yield old


def _started(old: Stored, name: str) -> "subprocess.Popen[bytes]":
    variables = environment(**old.variables(), DBOS__VMID=name)  # executors of their own: none recovers another's
    return subprocess.Popen([sys.executable, str(APP), name], env=variables)


def _select(database: Database, query: str, **values: str) -> list[Any]:
    engine = database.system_engine(poolclass=sa.NullPool)
    schema = "" if database.is_sqlite else "dbos."
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.text(query.format(dbos=schema)), values))
    except sa.exc.DatabaseError:
        return []  # its tables are not made yet


def _checkpoints(database: Database, workflow: str) -> int:
    return len(_select(database, "SELECT 1 FROM {dbos}operation_outputs WHERE workflow_uuid = :id", id=workflow))


def _ended(database: Database) -> list[Any]:
    return _select(database, "SELECT 1 FROM {dbos}workflow_status WHERE status IN ('SUCCESS', 'ERROR')")


def edited(*edits: tuple[str, str]) -> str:
    """The old text with something changed: each pair is what stood there, and what stands there now."""
    text = OLD
    for before, after in edits:
        assert text.count(before) == 1, f"{before!r} is there {text.count(before)} times"
        text = text.replace(before, after)
    return text


def the_one_difference(report: ReplayReport) -> ReplayedWorkflow:
    assert len(report.differences) == 1, list(report.lines())
    return report.differences[0]


BOOKING = "    number = book(parcel)\n"
SLEEP = "    DBOS.sleep(0.01)\n"
CHILD = "DBOS.start_workflow(invoice, parcel).get_result()"
GATHER = 'await asyncio.gather(ask_carrier("fast"), ask_carrier("slow"), ask_carrier("cheap"))'
RECV = '    DBOS.recv("paid", timeout_seconds=3600)\n'

SAME = {
    "a comment only": edited((BOOKING, BOOKING.replace("\n", "  # at the counter\n"))),
    "a step that is inserted behind a patch": edited(
        (BOOKING, f'    if DBOS.patch("insured"):\n        insure(parcel)\n{BOOKING}')
    ),
    "a patch that is not needed any more": edited((BOOKING, f'    DBOS.deprecate_patch("insured")\n{BOOKING}')),
    "a step that is inserted behind the last checkpoint": edited(
        ("    hand_over(address.town)\n", "    insure(parcel)\n    hand_over(address.town)\n")
    ),
    "a body of a step that does something else": edited(
        ("    return 3\n", "    return 4\n"), ("    return 17\n", "    return 18\n")
    ),
}

DIFFERENT = {
    "a step has a new name": (
        edited(("def book(", "def reserve("), ("= book(", "= reserve(")),
        (3, "`book`", "asks for `reserve`"),
    ),
    "a step is inserted": (
        edited((BOOKING, f"    insure(parcel)\n{BOOKING}")),
        (3, "`book`", "asks for `insure`"),
    ),
    "a step is removed": (edited((SLEEP, "")), (5, "`DBOS.sleep`", "asks for `invoice`")),
    "a transaction is removed": (
        edited((BOOKING, "    number = 17\n")),
        (3, "`book`", "asks for `DBOS.setEvent`"),
    ),
    "two steps change places": (
        edited((f"{BOOKING}    DBOS.set_event", f"    DBOS.sleep(0.01)\n{BOOKING}    DBOS.set_event")),
        (3, "`book`", "asks for `DBOS.sleep`"),
    ),
    "an exception of DBOS would be swallowed": (
        edited((BOOKING, f"    with contextlib.suppress(Exception):\n        insure(parcel)\n{BOOKING}")),
        (3, "`book`", "asks for `insure`"),
    ),
    "the clock decides": (
        edited((SLEEP, f'    if __import__("time").time() > 1:\n        insure(parcel)\n{SLEEP}')),
        (5, "`DBOS.sleep`", "asks for `insure`"),
    ),
    "a workflow returns earlier": (
        edited((SLEEP, "    return number\n")),
        (5, "`DBOS.sleep`", "returns 17 before it"),
    ),
    "a workflow raises earlier": (
        edited((SLEEP, "    raise ValueError(number)\n")),
        (5, "`DBOS.sleep`", "raises ValueError: 17 before it"),
    ),
    "a wait is removed": (
        edited((RECV, "")),
        (11, "`DBOS.sleep`, the timeout of a wait", "asks for `hand_over` as step 10"),
    ),
    "another child is started": (
        edited((CHILD, "DBOS.start_workflow(customs, parcel).get_result()")),
        (6, "`invoice`", "asks for `customs`"),
    ),
    "a child is not waited for": (
        edited((CHILD, "DBOS.start_workflow(invoice, parcel)")),
        (7, "`DBOS.getResult`", "asks for `customs`"),
    ),
    "a child is waited for where DBOS does not look": (
        edited((CHILD, f"child = {CHILD.removesuffix('.get_result()')}"), ("    customs(parcel)\n", "")),
        (7, "`DBOS.getResult`", "asks for `DBOS.recv`"),
    ),
    "an event has a new key, which DBOS does not compare": (
        edited(('"booking"', '"number"')),
        (4, "`DBOS.setEvent of booking`", "asks for `DBOS.setEvent of number`"),
    ),
    "a workflow has a new parameter": (
        edited(("(parcel: str, address: Address)", "(parcel: str, address: Address, day: str)")),
        (1, "`weigh`", "raises TypeError: send_parcel() missing 1 required positional argument: 'day' before it"),
    ),
    "the pickled inputs don't fit": (
        edited(
            (
                "def send_parcel(parcel: str, address: Address) -> int:\n",
                "def send_parcel(parcel, address):\n    address.zip\n",
            )
        ),
        (1, "`weigh`", "raises AttributeError: 'Address' object has no attribute 'zip' before it"),
    ),
    "asynchronous code asks for a step by another name": (
        edited(
            (GATHER, GATHER.replace("ask_carrier", "ask", 1)),
            (
                "@DBOS.workflow()\nasync",
                'ask = DBOS.step(name="ask")(ask_carrier.__wrapped__)\n\n\n@DBOS.workflow()\nasync',
            ),
        ),
        (2, "`ask_carrier`", "asks for `ask`"),
    ),
    "asynchronous code returns earlier": (
        edited((f"    prices = {GATHER}\n", '    return ()\n    prices = ("",)\n')),
        (2, "`ask_carrier`", "returns () before it"),
    ),
}


@STARTS_A_PYTHON
@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_the_new_code_does_the_same(stored: Stored, text: str) -> None:
    before, effects = stored.rows(), stored.effects()
    report = stored.replay(text)
    assert report.same, list(report.lines())
    assert {each.workflow_id for each in report.workflows} == UNDER_WAY
    assert {each.workflow_id: each.compared for each in report.workflows} == {"send_parcel": 10, "compare_carriers": 3}
    assert stored.rows() == before
    assert stored.effects() == effects


@STARTS_A_PYTHON
@pytest.mark.parametrize(("text", "expected"), DIFFERENT.values(), ids=DIFFERENT)
def test_the_first_step_that_differs_is_told(stored: Stored, text: str, expected: tuple[int, str, str]) -> None:
    before, effects = stored.rows(), stored.effects()
    found = the_one_difference(stored.replay(text))
    assert found.workflow_id in UNDER_WAY
    assert found.difference is not None
    assert (found.difference.step, found.difference.recorded, found.difference.asked) == expected
    assert stored.rows() == before
    assert stored.effects() == effects


FINISHED = {
    "a result is another": (
        ("    label(parcel, weight)\n    return weight", "    label(parcel, weight)\n    return -weight"),
        "recorded: it returns 3; the new code returns -3",
    ),
    "an exception is another": (
        ("raise LookupError(parcel)", "raise KeyError(parcel)"),
        "recorded: it raises LookupError: p-1; the new code raises KeyError: 'p-1'",
    ),
    "a workflow goes on": (
        (
            "    label(parcel, weight)\n    return weight",
            "    label(parcel, weight)\n    insure(parcel)\n    return weight",
        ),
        "step 3: recorded: the end of the workflow; the new code goes on with `insure`",
    ),
}


@STARTS_A_PYTHON
@pytest.mark.parametrize(("edit", "told"), FINISHED.values(), ids=FINISHED)
def test_a_finished_workflow_that_ends_in_another_way_is_told(stored: Stored, edit: tuple[str, str], told: str) -> None:
    report = stored.replay(edited(edit), finished=True)
    assert len(report.workflows) == 6
    assert str(the_one_difference(report).difference) == told


@STARTS_A_PYTHON
def test_all_workflows_of_the_same_code_replay_the_same(stored: Stored) -> None:
    report = stored.replay(OLD, finished=True)
    assert report.same, list(report.lines())
    assert sorted(each.status for each in report.workflows) == ["ERROR", "PENDING", "PENDING", *["SUCCESS"] * 3]


@STARTS_A_PYTHON
def test_those_under_way_come_first_and_the_rest_is_counted(stored: Stored) -> None:
    report = stored.replay(OLD, finished=True, limit=2)
    assert ({each.workflow_id for each in report.workflows}, report.left_out) == (UNDER_WAY, 4)


@STARTS_A_PYTHON
def test_a_workflow_that_is_not_registered_any_more_is_told(stored: Stored) -> None:
    text = edited(("def send_parcel(", "def send("), ("(send_parcel, ", "(send, "))
    found = the_one_difference(stored.replay(text))
    assert "send_parcel is not a registered workflow function" in str(found.difference)


@STARTS_A_PYTHON
def test_a_workflow_that_neither_asks_nor_ends_is_told_and_holds_up_no_other(stored: Stored) -> None:
    report = stored.replay(edited((SLEEP, "    threading.Event().wait()\n")), time_limit=1)
    assert str(the_one_difference(report).difference) == (
        "recorded: 10 steps; the new code does not come to their end within 1 s"
    )


@STARTS_A_PYTHON
def test_steps_that_ran_beside_one_that_had_not_ended_are_not_called_different(stored: Stored) -> None:
    report = stored.replay(edited((GATHER, GATHER.replace(', ask_carrier("cheap")', ""))))
    assert report.same
    assert "1 step, which ran beside one that had not ended, was not compared" in list(report.lines())[-1]


@STARTS_A_PYTHON
def test_the_database_of_the_application_itself_is_not_needed(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARCELS_DATA_URL", NEVER_ANSWERS)
    assert stored.replay(OLD).same


@STARTS_A_PYTHON
def test_an_application_that_starts_work_when_imported_has_no_effect(stored: Stored) -> None:
    effects = stored.effects()
    text = f"{OLD}\n\nDBOS.launch()\nDBOS.start_workflow(return_parcel, 'p-2')\nDBOS.start_workflow(invoice, 'p-2')\n"
    assert stored.replay(text).same
    assert stored.effects() == effects


@STARTS_A_PYTHON
@pytest.mark.parametrize(
    "line",
    ["sqlalchemy.create_engine(os.environ['PARCELS_DATA_URL'])", "datasource.engine"],
    ids=["its own engine", "that of its datasource"],
)
def test_an_application_can_t_write_to_its_database_when_imported(stored: Stored, line: str) -> None:
    before = stored.rows()
    writes = f"    with {line}.begin() as c:\n        c.execute(sqlalchemy.text('CREATE TABLE made (id INTEGER)'))\n"
    with pytest.raises(AppFileError, match="writes to a database while it is imported"):
        stored.replay(edited(("class Address", f"import sqlalchemy\nif True:\n{writes}\nclass Address")))
    assert stored.rows() == before


@STARTS_A_PYTHON
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{OLD}\nraise ValueError('no')\n", "can't be run: ValueError: no"),
        (f"{OLD}\nexit(3)\n", "can't be run: SystemExit: 3"),
        (f"{OLD}\n)\n", "can't be run: SyntaxError"),
        (f"{OLD}\nos._exit(3)\n", "ended early"),
    ],
    ids=["raises", "exits", "is no Python", "ends the process"],
)
def test_a_file_that_can_t_be_imported_is_told(stored: Stored, text: str, told: str) -> None:
    with pytest.raises(AppFileError, match=told):
        stored.replay(text)


@STARTS_A_PYTHON
def test_a_module_s_name_will_do(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    module = stored.new_version(edited(("class Address", "class Address")))
    monkeypatch.chdir(module.parent)
    report = replay(module.stem)
    assert {each.workflow_id for each in report.workflows} == UNDER_WAY
    assert "Can't get attribute 'Address'" in str(the_one_difference(report).difference)  # it was a main program's


@STARTS_A_PYTHON
def test_a_database_without_tables_of_dbos_is_told(
    stored: Stored, database: Database, new_database: Callable[[str], Database]
) -> None:
    empty = new_database("sqlite" if database.is_sqlite else "postgresql")
    if database.is_sqlite:
        with pytest.raises(DatabaseUnavailable, match="There is no SQLite file"):
            stored.replay(OLD, database_url=empty.system_url)
        empty.sqlite_files[1].touch()
    with pytest.raises(DatabaseUnavailable, match="has no tables of DBOS"):
        stored.replay(OLD, database_url=empty.system_url)


@STARTS_A_PYTHON
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("no url:secret", "starts with neither postgresql:// nor sqlite:///"),
        ("mysql://anna:secret@here/parcels", "starts with neither postgresql:// nor sqlite:///"),
        (NEVER_ANSWERS, "can't be read: connection failed"),
    ],
    ids=["no URL", "another kind", "no server"],
)
def test_a_database_that_can_t_be_read_is_told_without_its_password(stored: Stored, url: str, told: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=told) as failure:
        stored.replay(OLD, database_url=url)
    assert "secret" not in str(failure.value)
    assert "correct-horse" not in str(failure.value)


@STARTS_A_PYTHON
def test_a_database_that_a_newer_dbos_made_is_told(stored: Stored) -> None:
    table = "workflow_status" if stored.database.is_sqlite else "dbos.workflow_status"
    engine = stored.database.system_engine()
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN mood TEXT"))
    try:
        with pytest.raises(DatabaseUnavailable, match=r"newer DBOS than this one: its table workflow_status .* mood"):
            stored.replay(OLD)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN mood"))
        engine.dispose()


@STARTS_A_PYTHON
def test_an_application_without_a_dbos_of_its_own_takes_the_database_that_is_named(stored: Stored) -> None:
    start, end = OLD.index("DBOS(\n"), OLD.index("datasource =")
    text = OLD[:start] + OLD[end:]
    with pytest.raises(NoDatabaseNamed, match="--database-url"):
        stored.replay(text)
    assert stored.replay(text, database_url=stored.database.system_url).same


@STARTS_A_PYTHON
def test_a_role_that_may_only_read_is_enough(stored: Stored, postgresql: Database) -> None:
    if stored.database.is_sqlite:
        pytest.skip("SQLite has no roles")
    role = f"reader_{new_key()}"
    with superuser(postgresql).connect() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'".encode())
    with stored.database.connect() as connection:
        connection.execute(f'GRANT CONNECT ON DATABASE "{connection.info.dbname}" TO {role}'.encode())
        connection.execute(f"GRANT USAGE ON SCHEMA dbos TO {role}".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA dbos TO {role}".encode())
    url = make_url(stored.database.url).set(username=role, password=role).difference_update_query(["passfile"])
    assert stored.replay(OLD, database_url=url.render_as_string(hide_password=False)).same


@STARTS_A_PYTHON
def test_a_replay_that_is_killed_leaves_no_process_and_no_copy(stored: Stored) -> None:
    app = stored.new_version(edited((SLEEP, "    threading.Event().wait()\n")))
    arguments = [sys.executable, "-m", "widget_store", "replay", "--app", str(app)]
    variables = environment(**stored.variables(), TMPDIR=str(stored.folder))
    with subprocess.Popen(arguments, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: list(stored.folder.glob("replay-*/throwaway.sqlite")), "the copy of the workflows")
        process.kill()
    eventually(lambda: not list(stored.folder.glob("replay-*")), "the end of the copy")


@STARTS_A_PYTHON
def test_the_command_says_by_its_exit_status_whether_to_release(stored: Stored) -> None:
    def run(text: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return command("replay", "--app", str(stored.new_version(text)), *more, **stored.variables())

    same = run(OLD)
    assert (same.returncode, same.stderr) == (0, "")
    assert "2 workflows replayed, 13 steps: 2 the same, 0 different" in same.stdout
    different = run(edited((SLEEP, "")))
    assert different.returncode == 1
    assert "DIFFERENT  send_parcel send_parcel (PENDING): step 5: recorded: `DBOS.sleep`;" in different.stdout
    broken = run(f"{OLD}\n)\n")
    assert (broken.returncode, broken.stdout) == (2, "")
    assert "Traceback" not in broken.stderr
    nothing = run(edited(('"name": "parcels"', '"name": "letters"')))
    assert nothing.returncode == 2
    assert "there is no workflow to replay. Finished workflows are replayed with --all." in nothing.stderr
