"""The lessons where papermill, and others, start a kernel: in a folder that has nothing of the course."""

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.test_outputs import some_lessons
from tests.tools.notebooks import execute
from widget_store.databases import Database


@pytest.mark.thorough("executes a lesson")
@pytest.mark.slow("executes a lesson", weight=6)
@some_lessons
def test_a_lesson_runs_in_an_empty_folder(
    lesson: Path, public_folder: Path, tmp_path: Path, new_database: Callable[[str], Database]
) -> None:
    folder = public_folder / f"{tmp_path.name} elsewhere"
    folder.mkdir()
    notebook = nbformat.read(lesson, as_version=4)
    execute(notebook, folder, new_database("sqlite").url)
    writes = [cell.source for cell in notebook.cells if re.match("%%writefile work/", cell.source)]
    assert (folder / "work").is_dir() == bool(writes)
