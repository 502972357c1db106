"""`%%writefile` for the lessons. Importing the lab in a notebook puts it in the place of IPython's.

It differs in two things. It makes the folder, so that a lesson runs in any folder: papermill starts a kernel where it
was called itself, and a single downloaded lesson has no `work/` beside it. And it says the same each time, so that a
lesson run twice gives what is stored: IPython says "Overwriting" the second time.
"""

from pathlib import Path

from IPython.core.getipython import get_ipython
from IPython.core.magic_arguments import parse_argstring
from IPython.core.magics.osm import OSMagics


def use_in_notebook() -> None:
    """Put it in the place of IPython's; do nothing where there is no notebook."""
    if (shell := get_ipython()) is not None:
        shell.magics_manager.register_function(writefile, "cell")


def writefile(line: str, cell: str) -> None:
    """Write this cell to a file: `%%writefile work/mine.py`. With `-a`, put it at the end of the file.

    It is IPython's own, and makes the folder when there is none.
    """
    asked = parse_argstring(OSMagics.writefile, line)  # type: ignore[no-untyped-call]
    name = asked.filename.strip("\"'")
    file = Path(name).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a" if asked.append else "w", encoding="utf-8") as opened:
        opened.write(cell)
    print(f"{'Appending to' if asked.append else 'Writing'} {name}")
