"""Every stored output is true: a fresh run gives it, on both databases."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.tools.notebooks import all_notebooks, environment_of
from widget_store.databases import Database

LESSONS = all_notebooks()
each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
some_lessons = pytest.mark.parametrize(
    "lesson",
    [
        pytest.param(
            path, id=path.stem, marks=[pytest.mark.nightly("does so with another lesson")] if place % 6 else []
        )
        for place, path in enumerate(LESSONS)
    ],
)
"""Two of them in CI, and every night all."""


def compare(notebook: Path, database: Database | None) -> "subprocess.CompletedProcess[str]":
    """Run nbval as its users do, on a notebook in a copied course; without a database, on the embedded one."""
    course = notebook.parent
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", notebook.name],
        cwd=course,
        env=environment_of(course, None if database is None else database.url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.slow("executes a notebook", weight=6)
@pytest.mark.parametrize(
    "lesson",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.thorough("executes another notebook")] if place else [])
        for place, path in enumerate(LESSONS)
    ],
)
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
def test_a_fresh_run_gives_what_is_stored(
    lesson: Path, backend: str, course: Path, new_database: Callable[[str], Database]
) -> None:
    run = compare(course / lesson.name, new_database(backend))
    assert run.returncode == 0, run.stdout
    assert re.search(r"\d+ passed", run.stdout), run.stdout


@pytest.mark.slow("executes a notebook")
def test_a_stored_output_that_is_not_true_is_noticed(course: Path, new_database: Callable[[str], Database]) -> None:
    path = course / LESSONS[0].name
    notebook = nbformat.read(path, as_version=4)
    place, output = next(
        (place, output)
        for place, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if "0" in output.get("data", {}).get("text/plain", "")
    )
    output.data["text/plain"] = output.data["text/plain"].replace("0", "1")
    del notebook.cells[place + 1 :]
    nbformat.write(notebook, path)
    run = compare(path, new_database("sqlite"))
    assert run.returncode == 1
    assert "1 failed" in run.stdout
