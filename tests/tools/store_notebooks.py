"""Execute notebooks and store their outputs: the reference that `make test` compares with.

Without arguments every notebook, in the order of their names. It is also the order a learner opens them in.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
LEFT_ALONE = {".ipynb_checkpoints", "work"}
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def all_notebooks() -> list[Path]:
    """Return every notebook of the kit, none of the learner's own."""
    found = NOTEBOOKS.rglob("*.ipynb")
    return sorted(path for path in found if LEFT_ALONE.isdisjoint(path.relative_to(NOTEBOOKS).parts))


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Drop what differs from one machine or run to the next: versions, times, the state of widgets."""
    notebook.metadata.kernelspec = KERNEL
    notebook.metadata.language_info.pop("version", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def failed_cell(notebook: nbformat.NotebookNode) -> int:
    """Return the number of the last cell that ran, counted from one: the one that raised."""
    return max(
        number
        for number, cell in enumerate(notebook.cells, start=1)
        if any(output.output_type == "error" for output in cell.get("outputs", []))
    )


def store(path: Path) -> None:
    """Execute a notebook from its own folder, and write it back when every cell has run."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
    )
    try:
        client.execute()
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
