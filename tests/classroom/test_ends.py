"""How a workshop ends: in good order, killed, or kept for the next day; and one behind a proxy with TLS."""

import contextlib
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page

from tests.browser.clicks import buy_crash_and_pay
from tests.browser.jupyter import free_port
from tests.classroom.learners import PASSWORD, log_in, opened_lesson
from tests.classroom.rooms import BRIDGE, WORK, Room, why_not, workshop, workshop_in
from tests.support import INTERRUPTED, PATIENCE_SECONDS, ROOT, eventually, lives

pytestmark = [
    pytest.mark.thorough("starts several workshops"),
    pytest.mark.slow("starts several workshops", weight=4),
]


@pytest.fixture(scope="module", autouse=True)
def _machine() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)


def test_ctrl_c_leaves_the_work_and_nothing_else() -> None:
    with workshop("--seats", "1") as room:
        room.start_server("seat-01")
        (room.plan.home(room.plan.seat("seat-01")) / WORK).write_text("mine = True\n")
        _ends_clean(room)


def _ends_clean(room: Room) -> None:
    import pwd

    uids = [room.uid(seat.name) for seat in room.plan.seats]
    family = psutil.Process(room.process.pid).children(recursive=True)
    room.process.send_signal(signal.SIGINT)
    assert room.process.wait(3 * PATIENCE_SECONDS) in INTERRUPTED
    assert [process for process in family if lives(process)] == []
    assert room.working_there() == []
    every = psutil.process_iter(["uids", "status"])
    left = [each for each in every if each.info["uids"] and each.info["uids"].real in uids]
    assert [each for each in left if each.info["status"] != psutil.STATUS_ZOMBIE] == []
    assert [entry.pw_name for entry in pwd.getpwall() if entry.pw_name.startswith("seat-")] == []
    assert not Path("/run/netns/seat-01").exists()
    assert not BRIDGE.exists()
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
@pytest.mark.browser
def test_behind_a_proxy_with_tls_a_lesson_runs(certificate: tuple[Path, Path], page: Page, tmp_path: Path) -> None:
    with workshop("--seats", "1") as room, nginx(room, certificate, tmp_path) as url:
        log_in(page, url, "seat-01", PASSWORD, room.plan.class_word)
        buy_crash_and_pay(page, opened_lesson(page, "seat-01"))
        ours = {cookie["name"]: cookie["secure"] for cookie in page.context.cookies() if "hub" in cookie["name"]}
        assert ours == dict.fromkeys(["jupyterhub-hub-login", "jupyterhub-session-id", "jupyterhub-user-seat-01"], True)


def test_a_class_that_is_kept_goes_on_the_next_day() -> None:
    with workshop("--seats", "1", "--keep") as first:
        first.start_server("seat-01")
        plan = first.plan
        mine = plan.home(plan.seat("seat-01")) / WORK
        mine.write_text("mine = True\n")
        assert first.does("--stop", "--keep").returncode == 0
        assert first.process.wait(PATIENCE_SECONDS) in INTERRUPTED
        with workshop_in(first.folder, "--seats", "2") as second:
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
        assert not BRIDGE.exists()
        assert "There is no workshop in" in killed.does("--stop").stderr
