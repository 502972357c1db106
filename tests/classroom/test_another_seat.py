"""A learner in the next seat gets at nothing of another, whatever they try.

Each way in `ways.py` is tried by both seats. By the victim's own it succeeds: so it is a real try.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import widget_store
from tests.classroom import ways
from tests.classroom.rooms import Room, tell, why_not, workshop
from tests.support import PATIENCE_SECONDS

pytestmark = [
    pytest.mark.thorough("a Hub, and two seats with a store"),
    pytest.mark.slow("a Hub, and two seats with a store", weight=4),
]

VICTIM, OTHER = "seat-01", "seat-02"
CLOSED_TO_ALL = {
    "become_it",  # who is it already, may: that shows nothing
    "change_the_kit_or_its_python",
    "enter_its_network",
    "leave_its_limits",
    "read_the_files_of_the_database",
    "read_the_secrets_of_the_workshop",
    "restock_at_its_address",
    "see_the_host_under_its_temporary_folders",
}
"""What the victim's own seat can't do either."""
Outcomes = dict[str, dict[str, tuple[bool | None, str]]]


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """A workshop with two seats, both in use."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with workshop("--seats", "2") as started:
        for seat in (VICTIM, OTHER):
            started.start_server(seat)
        yield started


@pytest.fixture(scope="module")
def victim(room: Room) -> Iterator[dict[str, Any]]:
    """A store in the one seat; what the other is told of it is all there is to find out."""
    with room.inside(VICTIM, "victim") as program:
        assert program.stdout is not None
        assert program.stdin is not None
        line = program.stdout.readline()
        assert line, f"the victim has ended: {program.wait(PATIENCE_SECONDS)}"
        plan = room.plan
        home = plan.home(plan.seat(VICTIM))
        yield json.loads(line) | {
            "seat": VICTIM,
            "address": plan.seat(VICTIM).address,
            "jupyter": plan.seat(VICTIM).port,
            "api": plan.hub_port,
            "home": str(home),
            "lesson": str(home / "widget-store-course" / "00_start_here.ipynb"),
            "secrets": [str(place) for place in room.folder.iterdir() if place.is_file()],
            "cluster": str(room.folder / "database" / "data"),
            "common": [str(Path(widget_store.__file__).parent), sys.prefix, *sys.path[1:]],
        }
        program.stdin.write("inventory\n")
        program.stdin.flush()
        assert json.loads(program.stdout.readline()) == 99 - 1  # its own sale, and its own seat's try
        program.stdin.close()
        program.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def tried(room: Room, victim: dict[str, Any]) -> Outcomes:
    """What came of each way, from the other seat and from the victim's own."""
    own = sorted(set(ways.WAYS) - CLOSED_TO_ALL)
    return {
        "other": tell(room.inside(OTHER, "try"), victim),
        "own": tell(room.inside(VICTIM, "try", *own), victim),
    }


def test_there_are_as_many_ways_as_are_told() -> None:
    assert len(ways.WAYS) >= 25


@pytest.mark.parametrize("name", ways.WAYS)
def test_another_seat_gets_nowhere(tried: Outcomes, name: str) -> None:
    succeeded, words = tried["other"][name]
    assert succeeded is False, f"{name}: {words}"
    if name not in CLOSED_TO_ALL:
        succeeded, words = tried["own"][name]
        assert succeeded is True, f"no real try: {name} fails in the victim's own seat: {words}"


def test_the_hub_leads_nobody_to_another_seat(room: Room, victim: dict[str, Any]) -> None:
    token = room.server(OTHER).environ()["JUPYTERHUB_API_TOKEN"]
    own = room.server(VICTIM).environ()["JUPYTERHUB_API_TOKEN"]
    product = f"/user/{VICTIM}/proxy/{victim['port']}/product"
    assert room.ask("GET", product, own).json()["product"]
    assert room.ask("GET", product, token).status_code == httpx.codes.FORBIDDEN
    for method, path in (
        ("GET", f"/user/{VICTIM}/api/contents"),
        ("GET", f"/hub/api/users/{VICTIM}"),
        ("GET", "/hub/api/users"),
        ("DELETE", f"/hub/api/users/{VICTIM}/server"),
        ("POST", "/hub/api/users/seat-99"),
        ("POST", "/hub/api/shutdown"),
    ):
        assert room.ask(method, path, token).status_code in {401, 403, 404}, path


def test_a_seat_that_takes_too_much_ends_alone(room: Room, victim: dict[str, Any]) -> None:
    files = {
        name for group in room.groups(OTHER) for name in ("memory.max", "memory.limit_in_bytes") if _has(group, name)
    }
    if not files:
        pytest.skip("no control group limits the memory on this machine")
    for command, enough, too_much in (("take", "500", "2000"), ("start", "100", "500")):
        program = room.inside(OTHER, command, enough)
        assert program.communicate(timeout=PATIENCE_SECONDS)[0].strip() in {"500000000", "100"}
        program = room.inside(OTHER, command, too_much)
        assert program.communicate(timeout=PATIENCE_SECONDS)[0] == ""
        assert program.returncode != 0
    assert room.server(VICTIM).is_running()
    assert all(psutil.pid_exists(pid) for pid in victim["pids"])


def _has(group: Path, name: str) -> bool:
    return (group / name).exists() and (group / name).read_text().strip() != "max"


def test_no_secret_is_in_a_log_an_argument_or_a_file_that_others_can_read(room: Room, victim: dict[str, Any]) -> None:
    plan = room.plan
    needles = [plan.class_word, plan.hub_token, victim["token"], *(seat.password for seat in plan.seats)]
    needles.append((room.folder / "database-password").read_text())
    arguments = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    logs = [room.output, room.folder / "hub.log", room.folder / "database" / "log"]
    said = "\n".join([*arguments, *(log.read_text(errors="replace") for log in logs)])
    assert "jupyterhub.singleuser" in said
    assert [needle for needle in needles if needle in said] == []
    for place in room.folder.rglob("*"):
        if place.is_file():
            closed = not place.stat().st_mode & 0o077 or any(
                not above.stat().st_mode & 0o011 for above in place.parents
            )
            assert closed, place
