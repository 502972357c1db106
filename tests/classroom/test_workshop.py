"""A workshop while it runs, with learners in a real browser."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.browser.clicks import buy_crash_and_pay
from tests.browser.jupyter import REST, run_all
from tests.classroom.learners import PASSWORD, log_in, opened_lesson, storefront_of
from tests.classroom.rooms import WORK, Room, why_not, workshop
from tests.support import PATIENCE_SECONDS, eventually, lives
from widget_store.databases import Database
from widget_store.errors import WidgetStoreError

pytestmark = [
    pytest.mark.thorough("a Hub, with learners in a browser"),
    pytest.mark.slow("a Hub, with learners in a browser", weight=4),
    pytest.mark.browser,
]


@pytest.fixture(scope="module", autouse=True)
def _machine() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def room(certificate: tuple[Path, Path]) -> Iterator[Room]:
    """A workshop with two seats, behind TLS."""
    cert, key = certificate
    with workshop("--seats", "2", "--certificate", str(cert), "--key", str(key)) as started:
        yield started


def test_a_learner_takes_a_seat_buys_crashes_pays_and_opens_the_storefront(room: Room, page: Page) -> None:
    log_in(page, room.url, "seat-01", PASSWORD)
    expect(page.get_by_text("you need the class word")).to_be_visible()
    log_in(page, room.url, "seat-99", PASSWORD, room.plan.class_word)
    expect(page.get_by_text("Invalid username or password")).to_be_visible()
    log_in(page, room.url, "seat-01", PASSWORD, room.plan.class_word)
    buy_crash_and_pay(page, opened_lesson(page, "seat-01"))
    storefront_of(page, "seat-01").close()
    run_all(page, REST)


def test_a_taken_seat_is_its_learners_only(room: Room, page: Page) -> None:
    log_in(page, room.url, "seat-02", PASSWORD, room.plan.class_word)
    page.wait_for_url(re.compile("/user/seat-02/"))
    page.context.clear_cookies()
    log_in(page, room.url, "seat-02", "another password", room.plan.class_word)
    expect(page.get_by_text("Invalid username or password")).to_be_visible()
    log_in(page, room.url, "seat-02", PASSWORD)
    page.wait_for_url(re.compile("/user/seat-02/"))


def test_what_is_killed_is_back_and_nothing_is_lost(room: Room, page: Page) -> None:
    plan = room.plan
    seat = "seat-02"
    log_in(page, room.url, seat, PASSWORD, plan.class_word)
    page.wait_for_url(re.compile(f"/user/{seat}/"))
    room.start_server(seat)
    room.inside(seat, "sell").communicate(timeout=PATIENCE_SECONDS)
    assert _orders(room, seat) == 1
    (plan.home(plan.seat(seat)) / WORK).write_text("mine = True\n")
    from widget_store.classroom.class_server import administrator_of

    supervisor = psutil.Process(room.process.pid)
    for part in ("jupyterhub -f", "postgres -D"):
        (victim,) = [each for each in supervisor.children() if part in _command_of(each)]
        victim.kill()
        eventually(lambda gone=victim: not lives(gone), "the end of what was killed")  # type: ignore[misc]
    eventually(lambda: _answers(room), "a Hub that is back")
    eventually(lambda: not _complains(administrator_of(plan)), "a database that is back")
    cullers = [each for each in room.working_there() if "jupyterhub_idle_culler" in _command_of(each)]
    assert len(cullers) == 1
    room.server(seat).kill()
    eventually(lambda: not room.has_server(seat), "a Hub that knows of its end")
    page.goto(f"{room.url}/hub/spawn")  # the learner is still logged in
    page.wait_for_url(re.compile(f"/user/{seat}/"))
    assert (plan.home(plan.seat(seat)) / WORK).read_text() == "mine = True\n"
    assert _orders(room, seat) == 1


def _command_of(process: psutil.Process) -> str:
    """The command of a process, if it has not ended."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _orders(room: Room, seat: str) -> int:
    """How many orders are in a seat's database, as the seat sees it."""
    said, _ = room.inside(seat, "orders").communicate("", timeout=PATIENCE_SECONDS)
    return int(said)


def _complains(database: Database) -> bool:
    try:
        database.check()
    except WidgetStoreError:
        return True
    return False


def _answers(room: Room) -> bool:
    try:
        return room.ask("GET", "/hub/api/info").is_success
    except httpx.TransportError:
        return False


def test_seats_are_added_and_given_back(room: Room, page: Page) -> None:
    added = room.does("--add-seats", "1")
    assert added.stdout == "New seats: seat-03.\n", added.stderr
    log_in(page, room.url, "seat-03", PASSWORD, room.plan.class_word)
    page.wait_for_url(re.compile("/user/seat-03/"))

    plan = room.plan
    lesson = plan.home(plan.seat("seat-03")) / "widget-store-course" / "04_crash_lab.ipynb"
    lesson.write_text("{}")
    again = room.does("--reset", "seat-03", "04")
    assert "Their own is now 04_crash_lab-kept-1.ipynb." in again.stdout, again.stderr
    assert "nbformat" in lesson.read_text()

    free = room.does("--reset", "3")
    assert free.stdout.startswith("seat-03 is free again."), free.stderr
    assert not lesson.exists()
    page.context.clear_cookies()
    log_in(page, room.url, "seat-03", PASSWORD)
    expect(page.get_by_text("you need the class word")).to_be_visible()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reset", "seat-77"], "There is no seat 'seat-77'. The seats: seat-01"),
        (["--reset", "seat-01", "77"], "There is no lesson '77'"),
        (["--seats", "2"], "A workshop runs on this machine already"),
        (["--host", "0.0.0.0"], "Passwords would cross the network unencrypted"),  # noqa: S104 - it is refused
        (["--certificate", "/nowhere"], "There is no file /nowhere"),
    ],
)
def test_what_can_not_be_done_is_told_in_words(room: Room, arguments: list[str], says: str) -> None:
    refused = room.does(*arguments)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr
