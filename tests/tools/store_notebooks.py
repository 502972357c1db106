"""Execute notebooks and store their outputs. The one way to make them: `make notebooks`.

A test compares each stored output with a fresh run, so they must come from the same machinery and never be edited.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_A_CELL_TAKES_SECONDS = 300
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
NAVIGATION = "navigation"
"""The tag of a notebook's last cell, which is generated: its links to the next notebook and the one before."""


def all_notebooks() -> list[Path]:
    """Return the lessons, in their order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


@contextlib.contextmanager
def copied_course() -> Iterator[Path]:
    """Copy the notebooks and the solutions to where a learner has done nothing yet."""
    folder = Path(tempfile.mkdtemp(prefix="widget-store-course-")).resolve()
    folder.chmod(0o755)  # as root, the embedded PostgreSQL runs as another user
    try:
        not_the_course = shutil.ignore_patterns(".*", "__pycache__", "work")
        shutil.copytree(NOTEBOOKS, folder / "notebooks", ignore=not_the_course)
        (folder / "notebooks" / "work").mkdir()
        yield folder / "notebooks"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment_of(course: Path, database_url: str | None = None) -> dict[str, str]:
    """Return the environment in which a copied course has a database of its own.

    Without pytest's variables: a kernel that sees them keeps quiet about what its child processes print.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WIDGET_STORE_", "PYTEST_"))}
    kept["WIDGET_STORE_DATA_DIR"] = str(course.parent / "data")
    return kept if database_url is None else kept | {"WIDGET_STORE_DATABASE_URL": database_url}


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Drop what differs from one machine or run to the next: versions, times, the state of widgets.

    Of a widget, its name in words stays. Its view would be an error for whoever opens the notebook and has not run it.
    """
    notebook.metadata.kernelspec = KERNEL
    notebook.metadata.language_info.pop("version", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)


def navigation(path: Path, lessons: list[Path]) -> str:
    """Return the text of a notebook's last cell."""
    place = [lesson.name for lesson in lessons].index(path.name)
    links = []
    if place > 0:
        links.append(f"← [{_title(lessons[place - 1])}]({lessons[place - 1].name})")
    if place + 1 < len(lessons):
        links.append(f"[{_title(lessons[place + 1])}]({lessons[place + 1].name}) →")
    return " &nbsp; | &nbsp; ".join(links)


def _title(path: Path) -> str:
    first = nbformat.read(path, as_version=4).cells[0]
    return f"{path.name[:2]} {first.source.splitlines()[0].removeprefix('# ').partition(':')[0]}"


def put_navigation(notebook: nbformat.NotebookNode, text: str) -> None:
    """Make the links a notebook's last cell."""
    if not (notebook.cells and NAVIGATION in notebook.cells[-1].metadata.get("tags", [])):
        cell = nbformat.v4.new_markdown_cell(metadata={"tags": [NAVIGATION]})
        cell.id = NAVIGATION
        notebook.cells.append(cell)
    notebook.cells[-1].source = text


def execute(notebook: nbformat.NotebookNode, course: Path, database_url: str | None = None) -> None:
    """Run a notebook's cells in a copied course; raise `CellExecutionError` where one fails."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        kernel_name=KERNEL["name"],
        timeout=_A_CELL_TAKES_SECONDS,
        resources={"metadata": {"path": str(course)}},
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
    )
    client.execute(env=environment_of(course, database_url))


def failed_cell(notebook: nbformat.NotebookNode) -> int:
    """Return the number of the last cell that ran, counted from one: the one that raised."""
    return max(
        number
        for number, cell in enumerate(notebook.cells, start=1)
        if any(output.output_type == "error" for output in cell.get("outputs", []))
    )


def store(path: Path) -> None:
    """Execute a notebook, and write it back when every cell has run."""
    notebook = nbformat.read(path, as_version=4)
    put_navigation(notebook, navigation(path, all_notebooks()))
    try:
        with copied_course() as course:
            execute(notebook, course)
    except CellExecutionError as error:
        sys.exit(f"{path.name}, cell {failed_cell(notebook)}:\n{error}")
    normalise(notebook)
    nbformat.write(notebook, path)


def main() -> None:
    """Store the notebooks named on the command line, or all of them."""
    for path in [Path(name) for name in sys.argv[1:]] or all_notebooks():
        print(path.name, flush=True)
        store(path.resolve())


if __name__ == "__main__":
    main()
