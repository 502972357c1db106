"""Execute notebooks and store their outputs. The one way to make them: `make notebooks`.

A test compares each stored output with a fresh run, so they must come from the same machinery and never be edited.
"""

import sys
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError

from tests.tools.notebooks import (
    all_notebooks,
    copied_course,
    execute,
    navigation,
    normalise,
    put_figure,
    put_navigation,
)
from tests.tools.pictures import Album


def failed_cell(notebook: nbformat.NotebookNode) -> int:
    """Return the number of the last cell that ran, counted from one: the one that raised."""
    return max(
        number
        for number, cell in enumerate(notebook.cells, start=1)
        if any(output.output_type == "error" for output in cell.get("outputs", []))
    )


def store(path: Path) -> None:
    """Execute a notebook, and write it back when every cell has run, with a picture of each widget that it shows."""
    album = Album()
    notebook = nbformat.read(path, as_version=4)
    put_figure(notebook)
    put_navigation(notebook, navigation(path, all_notebooks()))
    try:
        with copied_course() as course:
            execute(notebook, course, after_each_cell=album.look)
    except CellExecutionError as error:
        sys.exit(f"{path.name}, cell {failed_cell(notebook)}:\n{error}")
    album.take_pictures()
    normalise(notebook)
    nbformat.write(notebook, path)


def main() -> None:
    """Store the notebooks named on the command line, or all of them."""
    for path in [Path(name) for name in sys.argv[1:]] or all_notebooks():
        print(path.name, flush=True)
        store(path.resolve())


if __name__ == "__main__":
    main()
