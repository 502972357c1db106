"""The learner's copy of the course: clean lessons, in a folder of the learner's own.

Clean means without outputs: no answer stands under its question. What the learner has changed is never written over. To
know what that is, a small file in the folder remembers what was put there. Without that file, everything that differs
from this version of the course counts as changed.
"""

import contextlib
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from widget_store.course import files
from widget_store.errors import LabUnavailable
from widget_store.settings import is_own

FOLDER = "widget-store-course"
REMEMBERED = ".widget-store-course.json"
WORK = Path("work")
"""The folder for the learner's own files, beside the lessons: a notebook's kernel runs there."""

_OTHERWISE = "Name another folder: widget-store lab FOLDER"


@dataclass
class Changes:
    """What an update of a learner's copy has done.

    Attributes:
        new: The files that were not there before.
        updated: Those that the learner had not changed, and that are newer now.
        kept: Those that the learner has changed, and of which there is a newer version.
        beside: For a lesson that was given anew, the name that the learner's own has now.
    """

    new: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    beside: dict[str, str] = field(default_factory=dict)


def default_folder() -> Path:
    """The current folder if it is a learner's copy; else one in it, or in the repository if we are within that.

    Within the repository of another account, it is one in the home folder.

    Raises:
        LabUnavailable: When there is no such folder.
    """
    here = current_folder()
    if (here / REMEMBERED).is_file():
        return here
    repository = files.repository()
    if repository is None or not here.is_relative_to(repository):
        return here / FOLDER
    return (repository if is_own(repository) else _home()) / FOLDER


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise LabUnavailable(f"This account has no home folder.\n{_OTHERWISE}") from None


def current_folder() -> Path:
    """The folder that the command is given in.

    Raises:
        LabUnavailable: When somebody has deleted it.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise LabUnavailable("The current folder is deleted.\nGo to another one: cd FOLDER") from None


def lesson_called(name: str) -> str:
    """The file name of a lesson that is called by its number, by its name, or by its file name.

    Raises:
        LabUnavailable: When there is no such lesson; it names them all.
    """
    wanted = Path(name).name.removesuffix(".ipynb")
    names = [path.name for path in files.lessons()]
    for lesson in names:
        if wanted in {Path(lesson).stem, lesson[:2], lesson[:2].removeprefix("0")}:
            return lesson
    raise LabUnavailable(
        f"There is no lesson {name!r}. The lessons: {', '.join(Path(lesson).stem for lesson in names)}."
    )


def update(folder: Path, fresh: Sequence[str] = ()) -> Changes:
    """Bring a learner's copy up to date, or make one.

    Args:
        folder: The learner's folder.
        fresh: The file names of lessons to give anew. The learner's own are kept beside them under another name.

    Raises:
        LabUnavailable: When the folder can't be used; it says why.
    """
    try:
        return _update(folder, fresh)
    except OSError as failure:
        if os.path.lexists(folder) and not folder.is_dir():
            reason = f"{folder} is not a folder"
        else:
            where = f" ({failure.filename})" if failure.filename else ""
            reason = f"The course can't be put into {folder}: {failure.strerror or failure}{where}"
        raise LabUnavailable(f"{reason}.\n{_OTHERWISE}") from None


def clean(notebook: bytes) -> bytes:
    """A notebook without outputs and execution counts, as JSON."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            cell["metadata"].pop("execution", None)
    return (json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _update(folder: Path, fresh: Sequence[str]) -> Changes:
    if folder.is_dir() and folder.samefile(files.notebooks()):
        raise LabUnavailable(
            f"{folder} holds the lessons as they are published, and working there would change them.\n{_OTHERWISE}"
        )
    for needed in (folder, folder / "images", folder / WORK):
        needed.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=needed):
            pass  # it can be written to: better known now than in the midst of a lesson
    run = _Update(folder)
    for name, source in files.material().items():
        content = clean(source.read_bytes()) if source.suffix == ".ipynb" else source.read_bytes()
        run.bring(name, content, anew=name in fresh)
    run.remember()
    return run.changes


class _State(Enum):
    """What a file in the learner's copy is."""

    MISSING = "there is none"
    CURRENT = "it is as in this version of the course"
    UNTOUCHED = "it is as in the version that was put there"
    CHANGED = "the learner has changed it"


def _state(target: Path, offered: str, remembered: str | None) -> _State:
    """Tell the state of a file, given the fingerprints of what is offered now and of what was put there."""
    if not os.path.lexists(target):
        return _State.MISSING
    if target.is_symlink():
        return _State.CHANGED  # the learner keeps it elsewhere
    found = _fingerprint(target.read_bytes())
    if found == offered:
        return _State.CURRENT
    return _State.UNTOUCHED if found == remembered else _State.CHANGED


class _Update:
    """One run over a learner's copy: what was put there before, and what is done now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = _remembered(folder)
        self._put = self._before.copy()
        self.changes = Changes()

    def bring(self, name: str, content: bytes, *, anew: bool) -> None:
        """Put a file into the copy, unless the learner's own is to stay."""
        target, offered = self._folder / name, _fingerprint(content)
        state = _state(target, offered, self._before.get(name))
        if state == _State.CHANGED and not anew:
            if self._put.setdefault(name, offered) != offered:
                self.changes.kept.append(name)
            return
        if state == _State.CHANGED:
            self.changes.beside[name] = _put_aside(target).name
        elif state == _State.UNTOUCHED:
            self.changes.updated.append(name)
        elif state == _State.MISSING:
            self.changes.new.append(name)
        if state != _State.CURRENT:
            files.write_whole(target, content)
        self._put[name] = offered

    def remember(self) -> None:
        """Write down what was put there."""
        if self._put != self._before:
            files.write_whole(self._folder / REMEMBERED, json.dumps(self._put, indent=1).encode())


def _fingerprint(content: bytes) -> str:
    """The same for two files that a learner would call the same.

    Of a notebook only what its cells hold counts: JupyterLab changes the rest when a notebook is only opened.
    """
    with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):  # it is no notebook, or a broken one
        cells = [
            [cell["cell_type"], "".join(cell["source"]), cell.get("outputs"), cell.get("execution_count")]
            for cell in json.loads(content)["cells"]
        ]
        content = json.dumps(cells, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _remembered(folder: Path) -> dict[str, str]:
    """The fingerprint of what was put into the folder, by the file's name. Nothing when that can't be read any more."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads((folder / REMEMBERED).read_bytes())
        if isinstance(content, dict):
            return {name: value for name, value in content.items() if isinstance(value, str)}
    return {}


def _put_aside(target: Path) -> Path:
    """Give a file another name, one that nothing has."""
    for number in itertools.count(1):
        aside = target.with_name(f"{target.stem}-kept-{number}{target.suffix}")
        with contextlib.suppress(FileExistsError):
            aside.touch(exist_ok=False)  # from here on the name is ours
            return target.replace(aside)
    raise AssertionError  # there is always another number
