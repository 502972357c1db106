"""`widget-store doctor`: it finds what is wrong, and says how to fix it."""

import re
import socket
import sys
from collections.abc import Callable
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from tests.support import NEVER_ANSWERS, command
from widget_store import doctor
from widget_store.databases import Database
from widget_store.system import limits


@pytest.mark.parametrize(
    ("version", "bounds", "obeys"),
    [
        ("3.4.0", "<4,>=3.4", True),
        ("3.10.2", "<4,>=3.4", True),
        ("3.3.9", "<4,>=3.4", False),
        ("4.0", "<4,>=3.4", False),
        ("3.14.0rc1", ">=3.11", True),
    ],
)
def test_bounds_are_compared_by_number(version: str, bounds: str, obeys: bool) -> None:
    assert doctor.within(version, bounds) is obeys


def test_every_check_ends_in_one_line_and_any_failure_in_status_1(database: Database, data_dir: Path) -> None:
    seen = command("doctor", WIDGET_STORE_DATABASE_URL=database.url, WIDGET_STORE_DATA_DIR=str(data_dir))
    names = re.findall(r"^(?:ok  |warn|FAIL)  ([\w ]+): ", seen.stdout, re.MULTILINE)
    assert names == list(doctor.CHECKS), seen.stderr
    assert seen.returncode == ("\nFAIL" in f"\n{seen.stdout}")


def test_a_database_that_does_not_answer_is_a_failure_with_its_fix_and_no_password(data_dir: Path) -> None:
    seen = command("doctor", WIDGET_STORE_DATABASE_URL=NEVER_ANSWERS, WIDGET_STORE_DATA_DIR=str(data_dir))
    assert seen.returncode == 1
    assert re.search(r"^FAIL  database: .*does not answer", seen.stdout, re.MULTILINE)
    assert "WIDGET_STORE_DATABASE_URL" in seen.stdout
    assert "correct-horse" not in seen.stdout + seen.stderr


def says(check: Callable[[], str], finding: type[doctor.Finding]) -> str:
    """What a check finds wrong and its fix."""
    with pytest.raises(finding) as caught:
        check()
    return f"{caught.value.found} {caught.value.fix}"


def test_a_version_out_of_bounds_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed_metadata", dict)
    monkeypatch.setattr(
        metadata, "requires", lambda _name: ["dbos<3.4,>=3", "psycopg[binary]<4,>=3.3", "no-such-thing>=1"]
    )
    found = says(doctor.packages, doctor.Failure)
    assert "dbos is 3." in found
    assert "no-such-thing is not installed" in found
    assert "psycopg" not in found
    assert "make setup" in found


def test_an_extra_that_is_not_installed_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed_metadata", dict)
    monkeypatch.setattr(metadata, "requires", lambda _name: ['no-such-thing<2,>=1; extra == "embedded"'])
    assert doctor.packages()


@pytest.mark.parametrize(
    ("urls", "to"),
    [([], "the person who gave you this kit"), (["Issues, https://kit.example/issues"], "https://kit.example/issues")],
)
def test_a_fault_of_ours_is_sent_to_an_address_that_there_is(
    urls: list[str], to: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> str:
        raise ZeroDivisionError("a fault of ours")

    told = Message()
    for url in urls:
        told["Project-URL"] = url
    monkeypatch.setattr(metadata, "metadata", lambda _name: told)
    monkeypatch.setattr(doctor, "CHECKS", {"this": fails})
    doctor.examine()
    assert f"send the output of `widget-store doctor --report` to {to}." in capsys.readouterr().out


def test_a_taken_port_is_only_a_caution() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 8000))
            other.listen()
        except OSError:
            pass  # somebody else has it: as good
        assert "--port" in says(doctor.port, doctor.Caution)


def test_a_folder_that_is_a_file_can_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WIDGET_STORE_DATA_DIR", str(tmp_path / "file"))
    assert "WIDGET_STORE_DATA_DIR" in says(doctor.data_folder, doctor.Failure)


def test_the_report_names_no_person_and_no_server_of_theirs(data_dir: Path) -> None:
    given = "postgresql://ana_mueller:correct-horse@127.0.0.2:1/shop_of_ana"
    told = command(
        *("doctor", "--report"),
        WIDGET_STORE_DATABASE_URL=given,
        WIDGET_STORE_DATA_DIR=str(data_dir),
        USER="li",
        LOGNAME="li",
        PGHOST="db.example",
    ).stdout
    assert "FAIL  database" in told
    assert re.search(r"variables that are set.*PGHOST, .*WIDGET_STORE_DATABASE_URL", told)
    names = ("ana_mueller", "correct-horse", "127.0.0.2", "shop_of_ana", "li", "db.example", str(Path.home()))
    for private in names:
        assert not re.search(rf"(?<!\w){re.escape(private)}(?!\w)", told), told


@pytest.mark.parametrize(
    ("head", "interpreter"),
    [
        ("#!/home/ana/.venv/bin/python\n", "/home/ana/.venv/bin/python"),
        (
            "#!/bin/sh\n'''exec' \"/home/Ana's kit/.venv/bin/python3\" \"$0\" \"$@\"\n' '''\n",
            "/home/Ana's kit/.venv/bin/python3",
        ),
        ("#!/bin/sh\n'''exec' '/home/$HOME it/python' \"$0\" \"$@\"\n' '''\n", "/home/$HOME it/python"),
        ("#!/bin/sh\necho '\n", ""),
        ("MZ\x90\x00", ""),
    ],
)
def test_the_python_that_a_script_starts_is_found_whatever_the_folder_is_called(
    head: str, interpreter: str, tmp_path: Path
) -> None:
    (tmp_path / "widget-store").write_text(f"{head}import sys\n")
    assert doctor._interpreter_of(tmp_path / "widget-store") == interpreter  # noqa: SLF001 - each kind of script


def test_too_little_memory_and_too_few_files_are_told_with_what_a_lesson_needs(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    monkeypatch.setattr(limits, "memory_limit", lambda: 300 * 1000**2)
    assert "needs 700 MB, and the limit is 300 MB" in says(doctor.limits, doctor.Caution)
    monkeypatch.setattr(limits, "memory_limit", lambda: None)
    assert "130 processes and threads" in doctor.limits()
    monkeypatch.setenv("WIDGET_STORE_DATA_DIR", str(data_dir))
    monkeypatch.setattr(doctor, "_NEEDED_FILES", 1 << 62)
    if sys.platform == "linux":
        assert "more files" in says(doctor.data_folder, doctor.Caution)
