"""`pytest --nbval notebooks/`, as people run it: in either folder, shuffled, side by side, twice, with few plugins."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT
from tests.tools.notebooks import all_notebooks, environment_of
from widget_store.databases import Database

LESSONS = all_notebooks()
SHORT = "09_changing_code_in_flight"
"""A lesson that begins with a file which is written, and with a store that serves it: its beginning tells enough."""
SETTINGS_OF_THE_PROJECT = ["pyproject.toml", "conftest.py"]


@pytest.fixture
def checkout(public_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The notebooks and what the project tells pytest, in a folder whose name has a space and an umlaut."""
    folder = public_folder / f"{tmp_path.name} für Zoë"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("work", "[_.]*"))
    for name in SETTINGS_OF_THE_PROJECT:
        shutil.copy(ROOT / name, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def lab_python(public_folder: Path) -> Path:
    """The Python of an environment that has what `make setup` installs, and nbval; made of links, with no download."""
    if os.name == "nt":
        pytest.skip("links need a right of their own on Windows")
    folder = public_folder / "lab"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    locks = "".join((ROOT / "requirements" / f"{name}.txt").read_text() for name in ("lab", "embedded"))
    names = {"widget-store", *re.findall(r"^([a-z0-9._-]+)(?:\[.*\])?==", locks, re.MULTILINE), *needed_by("nbval")}
    for name in names:
        for entry in top_entries(name):
            if not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


def needed_by(name: str) -> set[str]:
    """A package and all it needs."""
    needed, waiting = set[str](), [name]
    while waiting:
        needed.add(name := waiting.pop())
        for requirement in map(Requirement, distribution(name).requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting += {canonicalize_name(requirement.name)} - needed
    return needed


def top_entries(name: str) -> set[Path]:
    """The files and folders that a package has in site-packages; none, if this system does without it."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return set()
    tops = {file.parts[0] for file in installed.files or []} - {"..", "__pycache__"}
    return {Path(str(installed.locate_file(top))) for top in tops}


def keep_beginning(checkout: Path, *lessons: str) -> None:
    """Leave these lessons only, and of each the first cells."""
    for path in (checkout / "notebooks").glob("*.ipynb"):
        if path.stem not in lessons:
            path.unlink()
            continue
        notebook = nbformat.read(path, as_version=4)
        code = [place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
        del notebook.cells[code[4] :]
        nbformat.write(notebook, path)


def run(folder: Path, *arguments: str, python: Path | str = sys.executable, **environment: str) -> str:
    """Run pytest as a person would, in a folder of a checkout, and return what it printed; it must not fail."""
    ended = subprocess.run(
        [str(python), "-m", "pytest", *arguments],
        cwd=folder,
        env=environment_of(folder) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow("executes a part of a lesson, twice")
@pytest.mark.parametrize(("environment", "asked"), [("lab", "notebooks/"), ("test", ".")])
def test_it_passes_twice_in_a_row(
    environment: str,
    asked: str,
    checkout: Path,
    new_database: Callable[[str], Database],
    request: pytest.FixtureRequest,
) -> None:
    keep_beginning(checkout, SHORT)
    python = request.getfixturevalue("lab_python") if environment == "lab" else sys.executable
    url = new_database("sqlite").url
    folder = checkout / "notebooks" if asked == "." else checkout
    for _time in ("first", "second"):
        told = run(folder, "--nbval", asked, python=python, WIDGET_STORE_DATABASE_URL=url)
        assert "4 passed" in told
        assert ("randomly" in told) == (environment == "test")


@pytest.mark.thorough("few people will ask for it")
@pytest.mark.slow("executes a part of two lessons")
def test_side_by_side_lessons_do_not_take_each_other_s_store(
    checkout: Path, new_database: Callable[[str], Database]
) -> None:
    keep_beginning(checkout, SHORT, "05_endpoints_and_idempotency")
    told = run(checkout, "--nbval", "-n", "2", "notebooks/", WIDGET_STORE_DATABASE_URL=new_database("sqlite").url)
    assert "8 passed" in told


@pytest.mark.slow("reads all lessons")
def test_the_cells_keep_their_order_where_tests_are_shuffled(checkout: Path) -> None:
    told = run(checkout, "--nbval", "--collect-only", "-q", "--randomly-seed=1", "notebooks/")
    found = re.findall(r"^(.+)::Cell (\d+)$", told, re.MULTILINE)
    counts = [sum(cell.cell_type == "code" for cell in nbformat.read(path, as_version=4).cells) for path in LESSONS]
    assert found == [
        (path.name, str(number)) for path, count in zip(LESSONS, counts, strict=True) for number in range(count)
    ]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_imports_the_lab_before_it_writes_a_file(lesson: Path) -> None:
    """The lab's `%%writefile` says the same each time, and makes the folder."""
    code = [cell.source for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == "code"]
    imports = [place for place, source in enumerate(code) if "from widget_store.lab import" in source]
    writes = [place for place, source in enumerate(code) if source.startswith("%%writefile ")]
    assert all(imports[0] < place for place in writes)
