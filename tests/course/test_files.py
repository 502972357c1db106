"""The course in the package: all of it, and nothing of whoever built it."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support import environment
from tests.tools.wheel import build_wheel
from widget_store.course import files


@pytest.mark.slow("builds a wheel")
def test_a_wheel_has_the_course_and_finds_it(tmp_path: Path) -> None:
    mine = files.notebooks() / "work" / "of_whoever_builds_the_wheel.py"
    mine.write_text("")
    try:
        wheel = build_wheel(tmp_path)
    finally:
        mine.unlink()
    ZipFile(wheel).extractall(tmp_path / "site")
    installed = tmp_path / "site" / "widget_store" / "course" / "notebooks"
    published = [path for path in files.notebooks().rglob("*") if path.is_file()]
    wanted = {path.relative_to(files.notebooks()).as_posix() for path in published}
    left_out = {name for name in wanted if name.startswith("work/") or "/." in f"/{name}" or "__pycache__" in name}
    assert {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()} == (
        wanted - left_out
    )
    assert (installed / "solutions" / "start" / "capstone.py").is_file()
    found = (
        "from widget_store.course import files; from widget_store.course.checks import check;"
        "print(files.notebooks(), files.repository(), check.capstone.solution_file, sep='\\n')"
    )
    told = subprocess.run(
        [sys.executable, "-c", found],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(tmp_path / "site")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == [
        str(installed),
        "None",
        str(installed / "solutions" / "capstone.py"),
    ]


def test_here_the_course_is_that_of_the_repository() -> None:
    assert files.notebooks() == files.repository() / "notebooks"  # type: ignore[operator]
    assert [path.name for path in files.lessons()][:1] == [files.FIRST_LESSON]
