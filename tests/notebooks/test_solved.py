"""Each lesson with every exercise done: it runs to its end, and every check says that the exercise is solved."""

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.test_outputs import some_lessons
from tests.tools.notebooks import execute
from tests.tools.solved import solve
from widget_store.databases import Database

AS_A_LEARNER_DOES = "00_start_here"
"""The lesson that is solved without naming a database: on the embedded PostgreSQL, if there is one. It takes longer."""


def said(cell: nbformat.NotebookNode, stream: str) -> str:
    return "".join(output.text for output in cell.get("outputs", []) if output.get("name") == stream)


@pytest.mark.thorough("executes a lesson, and judges its exercises")
@pytest.mark.slow("executes a lesson, and judges its exercises", weight=8)
@some_lessons
def test_a_lesson_with_its_solutions_is_solved(
    lesson: Path, course: Path, new_database: Callable[[str], Database]
) -> None:
    notebook = nbformat.read(lesson, as_version=4)
    solve(notebook, course)
    execute(notebook, course, None if lesson.stem == AS_A_LEARNER_DOES else new_database("sqlite").url)
    verdicts = [said(cell, "stdout") for cell in notebook.cells if re.match(r"check\.\w+\(", cell.source)]
    assert verdicts
    assert [verdict for verdict in verdicts if not verdict.startswith("✔")] == []
    assert "".join(said(cell, "stderr") for cell in notebook.cells) == ""
