"""A workshop from its first command to its last, with learners in a real browser."""

import contextlib
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.clicks import buy_crash_and_pay
from tests.browser.conftest import browser  # noqa: F401 - a fixture
from tests.browser.jupyter import REST, free_port, run_all
from tests.classroom.learners import PASSWORD, log_in, new_page, opened_lesson, storefront_of
from tests.classroom.rooms import Room, why_not, workshop
from tests.support import PATIENCE_SECONDS, ROOT, eventually, lives
from widget_store.databases import Database
from widget_store.errors import WidgetStoreError

pytestmark = [
    pytest.mark.thorough("a Hub, with learners in a browser"),
    pytest.mark.slow("a Hub, with learners in a browser", weight=4),
    pytest.mark.browser,
]

WORK = "widget-store-course/work/mine.py"


@pytest.fixture(scope="module", autouse=True)
def _machine() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    from certipy import Certipy

    authority = Certipy(store_dir=str(tmp_path_factory.mktemp("authority")))
    authority.create_ca("authority")
    files = authority.create_signed_pair("hub", "authority", alt_names=["IP:127.0.0.1"])["files"]
    return Path(files["cert"]), Path(files["key"])


@pytest.fixture(scope="module")
def room(certificate: tuple[Path, Path]) -> Iterator[Room]:
    """A workshop with three seats, behind TLS."""
    cert, key = certificate
    with workshop("--seats", "2", "--certificate", str(cert), "--key", str(key)) as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:  # noqa: F811
    yield from new_page(browser)


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
    room.start_server("seat-01")
    orders = _orders(room, "seat-01")
    assert orders >= 3
    (plan.home(plan.seat("seat-01")) / WORK).write_text("mine = True\n")
    from widget_store.classroom.class_server import administrator_of

    supervisor = psutil.Process(room.process.pid)
    for part in ("jupyterhub -f", "postgres -D"):
        children = [each for each in supervisor.children(recursive=True) if lives(each)]
        (victim,) = [each for each in children if part in " ".join(each.cmdline())]
        victim.kill()
        eventually(lambda gone=victim: not lives(gone), "the end of what was killed")  # type: ignore[misc]
    eventually(lambda: _answers(room), "a Hub that is back")
    eventually(lambda: not _complains(administrator_of(plan)), "a database that is back")
    cullers = [each for each in _in(room.folder) if "jupyterhub_idle_culler" in " ".join(each.cmdline())]
    assert len(cullers) == 1
    room.server("seat-01").kill()
    eventually(lambda: not room.has_server("seat-01"), "a Hub that knows of its end")
    log_in(page, room.url, "seat-01", PASSWORD)
    page.wait_for_url(re.compile("/user/seat-01/"))
    assert (plan.home(plan.seat("seat-01")) / WORK).read_text() == "mine = True\n"
    assert _orders(room, "seat-01") == orders


def _orders(room: Room, seat: str) -> int:
    """How many orders are in a seat's database, as the seat sees it."""
    said, _ = room.inside(seat, "orders").communicate("", timeout=PATIENCE_SECONDS)
    return int(said)


def _in(folder: Path) -> list[psutil.Process]:
    """The processes that work in a folder: the Hub, its services, and a Hub's that was killed."""
    return [each for each in psutil.process_iter(["cwd"]) if str(each.info["cwd"]).startswith(str(folder))]


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


def test_ctrl_c_leaves_the_work_and_nothing_else(room: Room) -> None:
    import pwd

    plan = room.plan
    uids = [room.uid(seat.name) for seat in plan.seats]
    family = psutil.Process(room.process.pid).children(recursive=True)
    room.process.send_signal(signal.SIGINT)
    assert room.process.wait(3 * PATIENCE_SECONDS) in {130, -signal.SIGINT}
    assert [process for process in family if lives(process)] == []
    assert _in(room.folder) == []
    every = psutil.process_iter(["uids", "status"])
    left = [each for each in every if each.info["uids"] and each.info["uids"].real in uids]
    assert [each for each in left if each.info["status"] != psutil.STATUS_ZOMBIE] == []
    assert [entry.pw_name for entry in pwd.getpwall() if entry.pw_name.startswith("seat-")] == []
    assert not Path("/run/netns/seat-01").exists()
    assert not Path("/sys/class/net/widget-class").exists()
    assert list(Path("/sys/fs/cgroup").glob("**/widget-store-workshop")) == []
    (packed,) = [place for place in room.folder.iterdir() if place.name != "lock"]
    assert packed.stat().st_mode & 0o077 == 0
    with tarfile.open(packed) as archive:
        assert f"seat-01/{WORK}" in archive.getnames()


@contextlib.contextmanager
def nginx(room: Room, certificate: tuple[Path, Path], folder: Path) -> Iterator[str]:
    """A proxy with TLS in front of a workshop, with the lines of docs/workshop.md; its address."""
    port = free_port()
    (block,) = re.findall(r"^```nginx\n(.*?)^```$", (ROOT / "docs/workshop.md").read_text(), re.MULTILINE | re.DOTALL)
    for told, here in {
        "443": f"127.0.0.1:{port}",
        "/etc/ssl/workshop/fullchain.pem": str(certificate[0]),
        "/etc/ssl/workshop/privkey.pem": str(certificate[1]),
        "http://127.0.0.1:8000": room.url,
    }.items():
        assert told in block
        block = block.replace(told, here)
    paths = "".join(f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = (
        f"user root; pid {folder}/pid; error_log {folder}/log; events {{}} http {{ access_log off; {paths} {block} }}"
    )
    (folder / "conf").write_text(text)
    with subprocess.Popen(["nginx", "-p", folder, "-c", folder / "conf", "-g", "daemon off;"]) as proxy:
        try:
            eventually((folder / "pid").exists, "a proxy that serves")
            yield f"https://127.0.0.1:{port}"
        finally:
            proxy.terminate()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on this machine: apt install nginx")
def test_behind_a_proxy_with_tls_a_lesson_runs(
    plain_room: Room, certificate: tuple[Path, Path], page: Page, tmp_path: Path
) -> None:
    with nginx(plain_room, certificate, tmp_path) as url:
        log_in(page, url, "seat-01", PASSWORD, plain_room.plan.class_word)
        buy_crash_and_pay(page, opened_lesson(page, "seat-01"))
        ours = {cookie["name"]: cookie["secure"] for cookie in page.context.cookies() if "hub" in cookie["name"]}
        assert ours == dict.fromkeys(["jupyterhub-hub-login", "jupyterhub-session-id", "jupyterhub-user-seat-01"], True)


@pytest.fixture(scope="module")
def plain_room() -> Iterator[Room]:
    """A workshop with one seat, without TLS, that is to be kept."""
    with workshop("--seats", "1", "--keep") as started:
        yield started


def test_a_class_that_is_kept_goes_on_the_next_day(plain_room: Room) -> None:
    plain_room.start_server("seat-01")
    plan = plain_room.plan
    mine = plan.home(plan.seat("seat-01")) / WORK
    mine.write_text("mine = True\n")
    assert plain_room.does("--stop", "--keep").returncode == 0
    assert plain_room.process.wait(PATIENCE_SECONDS) in {130, -signal.SIGINT}
    with workshop("--seats", "2", folder=plain_room.folder) as second:
        assert [seat.name for seat in second.plan.seats] == ["seat-01", "seat-02"]
        assert second.plan.class_word == plan.class_word
        second.start_server("seat-01")
        assert mine.read_text() == "mine = True\n"


def test_what_a_killed_workshop_has_left_is_cleared_away() -> None:
    with workshop("--seats", "1") as killed:
        killed.start_server("seat-01")
        family = psutil.Process(killed.process.pid).children(recursive=True)
        killed.process.kill()
        killed.process.wait()
        stopped = killed.does("--stop")
        assert stopped.stdout.startswith("Stopped."), stopped.stderr
        assert [process for process in family if lives(process)] == []
        assert not Path("/sys/class/net/widget-class").exists()
        assert "There is no workshop in" in killed.does("--stop").stderr
