"""The lessons as files: which there are, a copy to run them in, and how they are executed and written."""

import ast
import base64
import contextlib
import html
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from widget_store.lab import CrashLab, CrashMap, Lab, ProviderPanel, WorkersPanel

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_A_CELL_TAKES_SECONDS = 300
PANELS = tuple(f"{panel.__name__}: " for panel in (CrashLab, CrashMap, Lab, ProviderPanel, WorkersPanel))
"""How the words begin that each panel is stored with."""
FIGURE = re.compile(
    r'^<img data-file="(images/[\w-]+\.svg)" alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)">$', re.M
)
"""The figure with which a lesson begins: its file, what it shows in words, and the file's content."""
_FIGURE_AS_WRITTEN = re.compile(r"^!\[([^\]]*)\]\((images/[\w-]+\.svg)\)$", re.M)
NAVIGATION = "navigation"
"""The tag of a notebook's last cell, which is generated: its links to the next notebook and the one before."""


def all_notebooks() -> list[Path]:
    """Return the lessons, in their order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def pictured(lesson: Path) -> list[nbformat.NotebookNode]:
    """Return the stored outputs of a lesson that are panels: a picture of each is stored with it."""
    outputs = [output for cell in nbformat.read(lesson, as_version=4).cells for output in cell.get("outputs", [])]
    return [output for output in outputs if output.get("data", {}).get("text/plain", "").startswith(PANELS)]


def written_in(lesson: str, file: str) -> str:
    """Return what a lesson, named by its number, writes into a file."""
    (notebook,) = NOTEBOOKS.glob(f"{lesson}_*.ipynb")
    first_line = f"%%writefile {file}\n"
    cells = nbformat.read(notebook, as_version=4).cells
    (found,) = [cell.source for cell in cells if cell.source.startswith(first_line)]
    return str(found.removeprefix(first_line))


def imported_from_the_kit() -> set[str]:
    """Return the full names of all that the lessons and their solutions import from the kit.

    Of a module that is imported, they are those of what is used of it.
    """
    sources = [file.read_text(encoding="utf-8") for file in NOTEBOOKS.glob("solutions/**/*.py")]
    for lesson in all_notebooks():
        cells = [cell for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == "code"]
        sources.append("\n".join(re.sub(r"^%.*$", "", cell.source, flags=re.M) for cell in cells))
    return {name for source in sources for name in _imported_from_the_kit(ast.parse(source))}


def _imported_from_the_kit(tree: ast.Module) -> Iterator[str]:
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("widget_store"):
            for each in node.names:
                full = f"{node.module}.{each.name}"
                if node.module == "widget_store" and find_spec(full):
                    modules[each.asname or each.name] = full
                else:
                    yield full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"{modules[node.value.id]}.{node.attr}"


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

    Of a widget, its name in words and its picture stay. Its view would be an error for people who open the notebook
    and have not run it.
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


def put_figure(notebook: nbformat.NotebookNode) -> None:
    """Put the opening figure's file into the notebook: then a page that is made of it, in any folder, shows it.

    An attachment would be tidier, but JupyterLab shows none that is an SVG, and the book shows none at all.
    """
    first = notebook.cells[0]
    first.source = _FIGURE_AS_WRITTEN.sub(lambda it: _figure(it[2], html.escape(it[1])), first.source)
    first.source = FIGURE.sub(lambda it: _figure(it[1], it[2]), first.source)


def _figure(file: str, words: str) -> str:
    content = base64.b64encode((NOTEBOOKS / file).read_bytes()).decode()
    return f'<img data-file="{file}" alt="{words}" src="data:image/svg+xml;base64,{content}">'


def execute(
    notebook: nbformat.NotebookNode,
    course: Path,
    database_url: str | None = None,
    after_each_cell: Callable[[NotebookClient, nbformat.NotebookNode], Awaitable[None]] | None = None,
) -> None:
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
    if after_each_cell is not None:

        async def look(cell: nbformat.NotebookNode, **_: object) -> None:
            await after_each_cell(client, cell)

        client.on_cell_executed = look
    client.execute(env=environment_of(course, database_url))
