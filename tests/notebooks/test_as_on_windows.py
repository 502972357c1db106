"""The first lesson and the one with the crash lab, where nothing is forked and the database is reached by TCP."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from widget_store.system.windows import SWITCH


@pytest.mark.thorough("executes notebooks once more")
@pytest.mark.slow("executes a notebook", weight=6)
@pytest.mark.parametrize("lesson", ["00_start_here", "04_crash_lab"])
def test_a_lesson_runs_to_its_end(lesson: str, course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    monkeypatch.setenv("WIDGET_STORE_DATA_DIR", str(course.parent / "data"))
    monkeypatch.delenv("WIDGET_STORE_DATABASE_URL", raising=False)
    notebook = nbformat.read(course / f"{lesson}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(course)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
