"""What the judges of lesson 10 need: the application of that lesson, with and without faults, and tests of it."""

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from widget_store.crashtest.workload import App, Workload

APPLICATION = "parcels"
TABLES = "CREATE TABLE bookings (parcel VARCHAR(40))"
PICKED_UP = "picked up"

CORRECT = """\
import os
import sys

import sqlalchemy as sa
from dbos import DBOS


@DBOS.step()
def book(parcel):
    with sa.create_engine(os.environ["DATABASE_URL"]).begin() as database:
        known = "SELECT 1 FROM bookings WHERE parcel = :parcel"
        if database.scalar(sa.text(known), {"parcel": parcel}) is None:
            database.execute(sa.text("INSERT INTO bookings VALUES (:parcel)"), {"parcel": parcel})


@DBOS.step()
def weigh(parcel):
    return 3


@DBOS.step()
def tell_customer(parcel):
    return f"{parcel} is under way"


@DBOS.workflow()
def send_parcel(parcel):
    book(parcel)
    DBOS.recv("picked up", timeout_seconds=3600)
    answer = tell_customer(parcel)
    return answer


if __name__ == "__main__":
    DBOS(
        config={
            "name": "parcels",
            "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"],
            "application_version": os.environ["RELEASE"],
            "executor_id": os.environ["RELEASE"],
            "log_level": "ERROR",
            "notification_listener_polling_interval_sec": 0.02,
        }
    )
    DBOS.launch()
    DBOS.register_queue("parcels", polling_interval_sec=0.05)
    print("launched", flush=True)
    sys.stdin.read()
    os._exit(0)
"""
"""The application; it books each parcel once."""

UNIT_TEST = """\
import parcels
import pytest
import sqlalchemy as sa
from dbos import DBOS


def test_send_parcel(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'parcels.sqlite'}"
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(DBOS, "recv", lambda *_args, **_more: True)
    with sa.create_engine(url).begin() as database:
        database.execute(sa.text("CREATE TABLE bookings (parcel VARCHAR(40))"))
    assert parcels.send_parcel.__wrapped__("p-1") == "p-1 is under way"
    with sa.create_engine(url).connect() as database:
        assert database.scalar(sa.text("SELECT count(*) FROM bookings")) == 1
"""
"""A test of the workflow without DBOS."""

_ONLY_IF_UNKNOWN = '        if database.scalar(sa.text(known), {"parcel": parcel}) is None:\n    '
BOOKS_AGAIN = (_ONLY_IF_UNKNOWN, "")
BOOKS_TWICE = ("INSERT INTO bookings VALUES (:parcel)", "INSERT INTO bookings VALUES (:parcel), (:parcel)")
BOOKS_NOTHING = ("INSERT INTO bookings VALUES (:parcel)", "SELECT :parcel")
NAMES_NO_PARCEL = ('f"{parcel} is under way"', '"a parcel is under way"')
WEIGHS_FIRST = ("    book(parcel)\n", "    weigh(parcel)\n    book(parcel)\n")
WEIGHS_LAST = ("    return answer\n", "    weigh(parcel)\n    return answer\n")


def written(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """The application in a folder of its own, with changes: each is a text in it, and what takes its place."""
    text = CORRECT
    for old, new in changes:
        assert old in text, old  # noqa: S101 - an author's mistake
        text = text.replace(old, new, 1)
    file = folder / name / f"{APPLICATION}.py"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    return file


class OneParcel(Workload):
    """The crash test of the lesson, of an application in any file."""

    def __init__(self, app: Path) -> None:
        self.app = app

    @property
    def name(self) -> str:
        """Each application has a scenario of its own."""
        return Path(self.app).parent.name

    def set_up(self, db: sa.Connection) -> None:
        """One table."""
        db.execute(sa.text(TABLES))

    def drive(self, app: App) -> None:
        """Send a parcel, which the driver picks up."""
        app.start("send_parcel", "p-1", "p-1")
        app.send("p-1", True, PICKED_UP)
        app.wait()

    def check(self, db: sa.Connection) -> Iterator[str]:
        """It is booked, once."""
        if db.scalar(sa.text("SELECT count(*) FROM bookings")) != 1:
            yield "the parcel has not exactly one booking"
