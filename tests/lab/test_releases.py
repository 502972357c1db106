"""Releases of an application, side by side on one database."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from widget_store.course import parcels
from widget_store.databases import Database
from widget_store.errors import StoreDidNotStart
from widget_store.lab.releases import Releases

pytestmark = pytest.mark.slow("starts processes of an application", weight=2)


@pytest.fixture(params=["postgresql", "sqlite"])
def releases(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, new_database: Callable[[str], Database]
) -> Iterator[Releases]:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database(request.param).url)
    opened = Releases(parcels.APPLICATION, parcels.TABLES)
    yield opened
    opened.close()


def send(releases: Releases, parcel: str, **options: Any) -> None:
    queue: Any = {"queue_name": "parcels", "workflow_name": "send_parcel", "workflow_id": parcel, **options}
    releases.client.enqueue(queue, parcel)
    releases.wait_for_step(parcel, "DBOS.sleep")


def version_of(releases: Releases, parcel: str) -> str:
    return str(releases.workflows().loc[parcel, "version"])


def test_new_work_goes_to_the_latest_version_and_old_work_ends_where_it_began(
    releases: Releases, tmp_path: Path
) -> None:
    old = parcels.written(tmp_path, "old")
    releases.start(old, "blue")
    send(releases, "p-1")
    releases.start(parcels.written(tmp_path, "new", parcels.WEIGHS_FIRST), "green")
    releases.client.set_latest_application_version("green")
    send(releases, "p-2")
    releases.client.set_latest_application_version("blue")
    send(releases, "p-3")
    send(releases, "p-4", app_version="green")
    assert list(releases.workflows()["version"]) == ["blue", "green", "blue", "green"]
    assert "weigh" not in releases.steps("p-1")
    assert "weigh" in releases.steps("p-2")

    releases.stop("blue")
    assert releases.running() == ["green"]
    releases.client.set_latest_application_version("green")
    releases.start(old, "blue")
    send(releases, "p-5")
    assert version_of(releases, "p-5") == "green", "to start an old version again is no rollback"
    releases.client.send("p-1", True, parcels.PICKED_UP)
    assert releases.wait_for("p-1", "SUCCESS", "ERROR") == "SUCCESS"


def test_a_file_that_does_not_start_is_told_with_its_last_words(releases: Releases, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise LookupError('no truck')")
    with pytest.raises(StoreDidNotStart, match="LookupError: no truck"):
        releases.start(broken, "blue")
    assert releases.running() == []


def test_no_process_stays_when_they_are_closed(releases: Releases, tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    releases.start(parcels.written(tmp_path, "app"), "blue")
    started = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert started
    releases.close()
    releases.close()
    assert not any(psutil.pid_exists(pid) for pid in started)


def test_a_process_with_a_workflow_that_waits_ends_with_its_standard_input(releases: Releases, tmp_path: Path) -> None:
    """The kernel holds the other end: so no process outlives it."""
    releases.start(parcels.written(tmp_path, "app"), "blue")
    send(releases, "p-1")
    (process,) = releases._processes.values()  # noqa: SLF001 - nobody else has it
    assert process.stdin
    process.stdin.close()
    assert process.wait(timeout=30) == 0
    process.stdin = None  # which `communicate` would flush
