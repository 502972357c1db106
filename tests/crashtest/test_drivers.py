"""Commits past SQLAlchemy: in whichever way a driver makes one, it is heard of."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.support import PATIENCE_SECONDS, ROOT, environment
from widget_store.databases import Database


@pytest.mark.slow("commits in a Python of its own: drivers are watched for a whole process")
def test_every_way_to_commit_by_a_driver_is_heard_of_once(
    new_database: Callable[[str], Database], tmp_path: Path
) -> None:
    url = make_url(new_database("postgresql").url).set(drivername="postgresql")
    program = [sys.executable, str(Path(__file__).with_name("drivers.py"))]
    done = subprocess.run(
        [*program, url.render_as_string(hide_password=False), str(tmp_path / "file.sqlite")],
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    wrong = {way: times for way, times in told.items() if times != (0 if way.startswith("rolled_back") else 1)}
    assert wrong == {}, "what is rolled back is no commit, and all else is one"
