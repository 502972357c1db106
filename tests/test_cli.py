"""The command line: a mistake is answered in words and with an exit status, never with a traceback."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from tests.support import NEVER_ANSWERS, PATIENCE_SECONDS, ROOT, command, environment
from widget_store.cli import main

SECRET = "correct-horse"  # noqa: S105 - it protects nothing


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["serve", "--port", "70000"],
        ["serve", "--port", "-1"],
        ["serve", "--port", "http"],
        ["serve", "--workers", "0"],
        ["serve", "--workers", "many"],
        ["serve", "--no-such-option"],
        ["serve", "more"],
        ["serve", "--app"],
        ["reset", "more"],
        ["stop-database", "--now"],
    ],
    ids=" ".join,
)
def test_what_can_not_be_understood_is_answered_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    answer = capsys.readouterr()
    assert (ended.value.code, answer.out) == (2, "")
    assert answer.err.startswith("usage: widget-store")


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["lab", "--help"]], ids=" ".join)
def test_help_is_no_mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: widget-store")


@pytest.mark.parametrize("name", ["serve", "reset", "stop-database"])
@pytest.mark.parametrize("setting", ["WIDGET_STORE_DATABASE_URL", "WIDGET_STORE_PAYMENT_TIMEOUT"])
def test_every_command_names_a_wrong_setting_and_keeps_its_value(name: str, setting: str) -> None:
    ended = command(name, **{setting: SECRET})
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"widget-store {name}: {setting}:")
    assert SECRET not in ended.stderr


@pytest.mark.slow("starts a process")
@pytest.mark.parametrize("arguments", [["serve", "--port", "0"], ["reset"]], ids=" ".join)
def test_a_database_that_does_not_answer_is_named_without_its_password(arguments: list[str]) -> None:
    ended = command(*arguments, WIDGET_STORE_DATABASE_URL=NEVER_ANSWERS)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "somebody:***@127.0.0.1:1" in ended.stderr
    assert "WIDGET_STORE_DATABASE_URL" in ended.stderr
    assert SECRET not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_notebook_shows_the_words_of_an_error_and_not_the_way_to_them() -> None:
    shell = InteractiveShell()  # type: ignore[no-untyped-call]
    with capture_output() as shown:
        shell.run_cell("from widget_store.errors import StoreRunning; raise StoreRunning('Stop it first.')")  # type: ignore[no-untyped-call]
    assert shown.stdout.strip() == "StoreRunning: Stop it first."


def test_a_reader_who_has_read_enough_ends_a_command_without_a_traceback() -> None:
    doctor = subprocess.Popen(
        [sys.executable, "-m", "widget_store", "doctor"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert doctor.stdout is not None
    doctor.stdout.close()
    _, said = doctor.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in said


@pytest.mark.slow("starts a process")
def test_a_host_that_is_not_this_machine_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    ended = command("serve", "--host", "192.0.2.1", "--port", "0", WIDGET_STORE_DATABASE_URL=url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "192.0.2.1" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow("imports all exercises")
def test_progress_lists_every_notebook_and_how_many_exercises_are_solved() -> None:
    told = command("progress")
    assert told.returncode == 0, told.stderr
    lessons = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert [line for line in told.stdout.splitlines() if line in lessons] == lessons
    assert "two_customers: predict" in told.stdout
    assert re.search(r"^\d+ of \d+ solved", told.stdout, re.MULTILINE)
