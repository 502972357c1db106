"""Where the course is: inside an installed package, or in the folder of the repository that this code is run from.

`notebooks/` in the repository is its one source. The wheel carries a copy of that folder.
"""

import uuid
from pathlib import Path

from widget_store.errors import LabUnavailable

FIRST_LESSON = "00_start_here.ipynb"
_INSTALLED = Path(__file__).resolve().parent / "notebooks"
_REPOSITORY = Path(__file__).resolve().parents[2]


def notebooks() -> Path:
    """The folder of the lessons, as they are published: executed, with their outputs.

    Raises:
        LabUnavailable: When it is neither in the package nor beside it.
    """
    for folder in (_INSTALLED, _REPOSITORY / "notebooks"):
        if (folder / FIRST_LESSON).is_file():
            return folder
    raise LabUnavailable(
        f"The lessons are not in {_INSTALLED}: this package is not complete.\n"
        "Install it again: pip install --force-reinstall --no-deps widget-store"
    )


def repository() -> Path | None:
    """The folder of the repository, when this code is run from there."""
    return None if _INSTALLED.is_dir() else _REPOSITORY


def lessons() -> list[Path]:
    """The lessons, in their order."""
    return sorted(notebooks().glob("[0-9][0-9]_*.ipynb"))


def material() -> dict[str, Path]:
    """What a learner gets, by its name in the learner's folder: the lessons, their pictures, and what nbval reads."""
    pictures = sorted(path for path in (notebooks() / "images").iterdir() if path.is_file())
    for_nbval = [notebooks() / "pytest.ini", notebooks() / "conftest.py"]
    return {path.relative_to(notebooks()).as_posix(): path for path in [*lessons(), *pictures, *for_nbval]}


def solutions() -> Path:
    """The folder of the solutions; what an exercise starts from is in its folder `start`."""
    return notebooks() / "solutions"


def write_whole(target: Path, content: bytes) -> None:
    """Write a file beside and rename it: whatever happens, nobody finds half a file."""
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        beside.write_bytes(content)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
