"""Small applications and their workloads, for tests of the crash test itself."""

from pathlib import Path

import sqlalchemy as sa

from widget_store.crashtest import App, Workload

TOP = """
import os, pathlib, random, time
import httpx
import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

here_before = pathlib.Path(__file__).with_name("here-before")
DBOS(config={"name": "small", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
data = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))
ADD = sa.text("UPDATE counter SET n = n + 1")

@data.transaction
def add():
    data.sql_session().execute(ADD)

@DBOS.step()
def add_in_a_step():
    with engine.begin() as connection:
        connection.execute(ADD)

@DBOS.step(retries_allowed=True, interval_seconds=0.01)
def add_with_retries():
    with engine.begin() as connection:
        connection.execute(ADD)

@DBOS.step()
def say(what):
    return httpx.post(os.environ["OUTSIDE"] + "/" + what).json()["number"]
"""
SAFE = ("add()",)
BROKEN = ("add_in_a_step()",)


def an_app(folder: Path, *lines: str, before: str = "") -> Path:
    """A file with a workflow `work` of these lines."""
    file = folder / "small_application.py"
    body = "\n".join(f"    {line}" for line in lines)
    file.write_text(f"{TOP}{before}\n@DBOS.workflow()\ndef work():\n{body}\n", encoding="utf-8")
    return file


class Work(Workload):
    """One call of it."""

    time_limit = 30.0
    outside = "OUTSIDE"
    asked_for = "work"

    def set_up(self, db: sa.Connection) -> None:
        db.execute(sa.text("CREATE TABLE counter (n INTEGER)"))
        db.execute(sa.text("INSERT INTO counter VALUES (0)"))

    def drive(self, app: App) -> None:
        app.start(self.asked_for, "w-1")


def work(app: Path | str, **attributes: object) -> Work:
    """A workload on that application, with other attributes than the class has."""
    workload = Work()
    workload.app = app
    for name, value in attributes.items():
        setattr(workload, name, value)
    return workload


WORKLOAD = """
import sqlalchemy as sa
from widget_store.crashtest import Workload, every_crash_point

class OneCall(Workload):
    app = "small_application.py"
    outside = "OUTSIDE"

    def set_up(self, db):
        db.execute(sa.text("CREATE TABLE counter (n INTEGER)"))
        db.execute(sa.text("INSERT INTO counter VALUES (0)"))

    def drive(self, app):
        app.start("work", "w-1")
"""
TEST = """
@every_crash_point(OneCall)
def test_no_crash_matters(crash):
    crash.must_be_safe()
"""


def a_workload_file(folder: Path, *more: str, name: str = "test_small.py") -> Path:
    """A file with a workload `OneCall` of the application beside it, and more lines of its class."""
    file = folder / name
    file.write_text(WORKLOAD + "".join(f"\n    {line}\n" for line in more) + TEST, encoding="utf-8")
    return file
