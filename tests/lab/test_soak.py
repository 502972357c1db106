"""The soak: a store that is killed at random moments under many customers, and customers who catch one that lies."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import INTERRUPTED, PATIENCE_SECONDS, ROOT, Books, command, environment, eventually
from widget_store.databases import Database

MUTANTS = ROOT / "tests" / "mutants"
DIARY = str(ROOT / "tests" / "apps" / "diary.py")
pytestmark = pytest.mark.slow("kills a store while customers buy", weight=4)


@pytest.mark.parametrize(
    "backend", ["postgresql", pytest.param("sqlite", marks=pytest.mark.thorough("a soak on the other database"))]
)
def test_a_store_that_is_killed_at_random_moments_keeps_its_promises(
    postgresql: Database, backend: str, public_folder: object
) -> None:
    url = postgresql.url if backend == "postgresql" else f"sqlite:///{public_folder}/soak.sqlite"
    done = command("crash-test", "--soak", "8", "--seed", "1", "--json", WIDGET_STORE_DATABASE_URL=url)
    told = json.loads(done.stdout)
    assert (done.returncode, told["violations"]) == (0, []), done.stderr
    assert set(told) == {"seconds", "kills", "checkouts", "violations", "seed"}
    assert told["seconds"] >= 8
    assert told["kills"] >= 1
    assert told["checkouts"] >= 1
    assert told["seed"] == 1


@pytest.mark.nightly("a soak of a store that lies")
def test_customers_who_are_told_two_things_say_so(postgresql: Database) -> None:
    mutant = str(MUTANTS / "key_that_names_nothing.py")
    done = command(
        "crash-test", "--soak", "4", "--seed", "1", "--app", mutant, WIDGET_STORE_DATABASE_URL=postgresql.url
    )
    assert done.returncode == 1, done.stderr
    assert "answers: buying" in done.stdout


@pytest.mark.thorough("a soak with two workers")
def test_two_workers_that_are_killed_at_random_moments_never_run_a_workflow_at_once(
    postgresql: Database, tmp_path: Path
) -> None:
    done = command(
        *("crash-test", "--soak", "8", "--seed", "1", "--workers", "2", "--app", DIARY, "--json"),
        WIDGET_STORE_DATABASE_URL=postgresql.url,
        DIARY=str(tmp_path / "diary"),
    )
    told = json.loads(done.stdout)
    assert (done.returncode, told["violations"]) == (0, []), done.stderr
    who = {json.loads(line)["pid"] for line in (tmp_path / "diary").read_text().splitlines()}
    assert len(who) >= 3  # two, and one in the place of one that was killed


@pytest.mark.nightly("a soak with a diary")
def test_two_that_run_a_workflow_at_once_are_found_out(postgresql: Database, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    lines = [(1, "begin"), (2, "begin"), (1, "step"), (2, "end")]
    diary.write_text(
        "".join(
            json.dumps({"what": what, "workflow": "w", "pid": pid, "at": float(place)}) + "\n"
            for place, (pid, what) in enumerate(lines)
        )
    )
    done = command(
        *("crash-test", "--soak", "4", "--seed", "1", "--app", DIARY),
        WIDGET_STORE_DATABASE_URL=postgresql.url,
        DIARY=str(diary),
    )
    assert done.returncode == 1, done.stderr
    assert "w began in process 2 while process 1 ran it, too" in done.stdout


def test_a_soak_in_which_nothing_was_killed_proves_nothing(postgresql: Database) -> None:
    done = command("crash-test", "--soak", "0", WIDGET_STORE_DATABASE_URL=postgresql.url)
    assert done.returncode == 1
    assert "nothing was killed" in done.stderr


def test_a_soak_that_is_stopped_leaves_nothing_behind(postgresql: Database) -> None:
    """No process, says the fixture that watches over all tests; and no database."""
    with subprocess.Popen(
        [sys.executable, "-m", "widget_store", "crash-test", "--soak", "600"],
        cwd=ROOT,
        env=environment(WIDGET_STORE_DATABASE_URL=postgresql.url),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as soak:
        try:
            eventually(lambda: _databases(postgresql) >= 2, "a soak that has begun")
            soak.send_signal(signal.SIGINT)
            _, said = soak.communicate(timeout=PATIENCE_SECONDS)
            assert soak.returncode in INTERRUPTED, said
        finally:
            soak.kill()
    assert _databases(postgresql) == 0


def _databases(server: Database) -> int:
    names = "SELECT count(*) FROM pg_database WHERE datname LIKE 'crash_test_%'"
    return int(Books(server).store(names)[0][0])
