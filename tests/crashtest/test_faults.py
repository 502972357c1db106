"""Each kind of fault, with an application that survives it and one that does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crashtest.small import an_app, work
from widget_store.crashtest import FAULTS, Plan, Report, Verdict, crash_test
from widget_store.crashtest.faults import Fail
from widget_store.databases import Database
from widget_store.errors import DatabaseUnavailable
from widget_store.settings import Settings

WORSE = "work w-1 ended as ERROR"
TWICE = "table counter: has (n 2)"


@pytest.fixture
def a_server(new_database: Callable[[str], Database]) -> Settings:
    return Settings(database_url=new_database("postgresql").url)


def struck(fault: str, settings: Settings, folder: Path, where: str) -> Report:
    """What becomes of a step, with this fault at a crash point of it."""
    step, place = where.split()
    workload = work(an_app(folder, f"{step}()"))
    plan = Plan((workload,), (f"work/1.{step}/{place}",), jobs=1, fault=FAULTS[fault])
    return crash_test(plan, settings)


@pytest.mark.slow("starts applications, and lets a fault happen to each")
@pytest.mark.parametrize(
    "case",
    [
        ("kill", "add effect/after", "add_in_a_step effect/after", TWICE),
        ("fail", "add_with_retries effect/before", "add effect/before", WORSE),
        ("take over", "add effect/after", "add_in_a_step effect/after", TWICE),
    ],
)
def test_an_application_survives_a_fault_that_another_does_not(
    case: tuple[str, str, str, str], a_server: Settings, tmp_path: Path
) -> None:
    fault, survives, breaks, told = case
    safe = struck(fault, a_server, tmp_path, survives)
    assert [each.verdict for each in safe.results] == [Verdict.SAFE], safe.failures
    broken = struck(fault, a_server, tmp_path, breaks)
    assert [each.verdict for each in broken.results] == [Verdict.BROKEN], broken
    assert any(told in each for each in broken.results[0].violations), broken.results


@pytest.mark.slow("crashes a database server, and waits until it is back")
def test_a_transaction_survives_the_crash_of_the_database_and_sql_of_its_own_does_not(tmp_path: Path) -> None:
    """With retries, the plain step survives as well: its commit is lost before anybody has seen it."""
    crash, settings = "database crash", Settings()
    safe = struck(crash, settings, tmp_path, "add */before")
    assert [each.verdict for each in safe.results] == [Verdict.SAFE] * 2, safe.failures
    broken = struck(crash, settings, tmp_path, "add_in_a_step effect/before")
    assert [each.verdict for each in broken.results] == [Verdict.BROKEN], broken
    assert any(WORSE in each for each in broken.results[0].violations), broken.results


@pytest.mark.slow("starts an application")
def test_what_has_no_server_cannot_have_its_server_crashed(
    new_database: Callable[[str], Database], tmp_path: Path
) -> None:
    settings = Settings(database_url=new_database("sqlite").url)
    with pytest.raises(DatabaseUnavailable, match="SQLite has no server that could crash"):
        struck("database crash", settings, tmp_path, "add effect/before")


@pytest.mark.parametrize(
    ("point", "can_fail"),
    [
        ("work/1.add/effect/before", True),
        ("work/1.say/body/before#2", True),
        ("work/1.add/effect/after", False),
        ("work/1.add/checkpoint/before", False),
        ("work/outside of a step/effect/before", False),
        ("call/start work/status/before", False),
    ],
)
def test_a_step_can_be_made_to_fail_before_its_work_is_done_and_nowhere_else(point: str, can_fail: bool) -> None:
    assert Fail().fits(point) is can_fail
