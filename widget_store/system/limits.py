"""What a machine has, and what the kit needs of it: disk, memory, processes. How it is said when there is not enough.

A machine that is short of something ends a program in many ways: another error for each library, a child that dies, a
thread that never starts. All of them are told in the same few sentences. Where a limit can be read beforehand, it is.
"""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from widget_store.errors import Starved
from widget_store.system.windows import AS_ON_WINDOWS

_MB = 1000**2
_FEW_TASKS = 4096  # a higher limit is no shortage: it is not counted how many there are
_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_FILES_OF_A_PROCESS = 64  # PostgreSQL does not start with 56
_UNLIMITED_BYTES = 1 << 60
_LONGEST_LINE = 400


@dataclass(frozen=True)
class Need:
    """What something takes at its most, measured on two cores with PostgreSQL 18: see docs/install.md.

    Attributes:
        what: Its name in a sentence.
        tasks: Processes and threads, the database's included.
        memory: Bytes of all of them; what they share is counted once.
        address_space: Bytes of the one process that reserves the most.
    """

    what: str
    tasks: int
    memory: int
    address_space: int


COMMAND = Need("this command with its database", tasks=14, memory=105 * _MB, address_space=250 * _MB)
STORE = Need("a store with its database", tasks=34, memory=226 * _MB, address_space=944 * _MB)
LESSON = Need("a store in a notebook", tasks=46, memory=355 * _MB, address_space=1174 * _MB)
COURSE = Need("JupyterLab with a lesson and its crash test", tasks=130, memory=700 * _MB, address_space=1495 * _MB)

_DISK = "There is no space left on the disk"
_DISK_FIX = "Delete what you do not need, or choose another disk: WIDGET_STORE_DATA_DIR for data, TMPDIR for the rest."
_TASKS = "This machine, or a limit of this account, allows no more processes and threads"
_TASKS_FIX = "End other programs, or raise the limit (`ulimit -u`, `ulimit -v`, or that of the container)."
_MEMORY = "There is not enough memory"
_MEMORY_FIX = "End other programs, or raise the limit (`ulimit -v`, or that of the container)."
_FILES = "This account may open no more files"
_FILES_FIX = "Raise the limit: `ulimit -n 1024`."
_CONNECTIONS = "The database has no connection left"
_CONNECTIONS_FIX = "Close some of its other clients, or raise its max_connections."

_WORDS = {
    r"no space left|disk full|diskfull|wrote only \d+ of \d+ bytes|quota exceeded|disk is full": (_DISK, _DISK_FIX),
    r"start new thread|resource temporarily unavailable|could not fork": (_TASKS, _TASKS_FIX),
    r"memoryerror|cannot allocate memory|out of memory|malloc failure|std::bad_alloc": (_MEMORY, _MEMORY_FIX),
    r"too many open files|insufficient file descriptors": (_FILES, _FILES_FIX),
    r"no usable temporary directory": ("There is no folder for temporary files", "Set TMPDIR to a folder of yours."),
    r"file too large": ("A limit allows no files as large as a database's", "Raise it: `ulimit -f unlimited`."),
    r"max_stack_depth": ("A limit allows too small a stack for the database", "Raise it: `ulimit -s 8192`."),
    r"too many clients|remaining connection slots|too many connections": (_CONNECTIONS, _CONNECTIONS_FIX),
}
"""What libraries, PostgreSQL and the system say when something runs out."""


def of_a_crash_test(jobs: int) -> Need:
    """What a crash test takes that has so many runs at a time: measured with one, two and four."""
    return Need("a crash test", 23 + 23 * jobs, (247 + 49 * jobs) * _MB, 1263 * _MB)


def lack(failure: BaseException | str) -> Starved | None:
    """What the machine lacked, if that is the reason of a failure; None for any other."""
    if isinstance(failure, Starved):
        return failure
    words = failure if isinstance(failure, str) else "\n".join(_chain(failure))
    for pattern, (what, fix) in _WORDS.items():
        if found := re.search(pattern, words, re.IGNORECASE):
            line = next(line for line in words.splitlines() if found[0] in line).strip()
            left_out = max(0, line.index(found[0]) + len(found[0]) - _LONGEST_LINE)  # a path before it may be long
            shown = line[left_out : left_out + _LONGEST_LINE]
            return Starved(f"{what} ({'…' if left_out else ''}{shown}).\n{fix}")
    return None


def no_space(folder: Path, need: str) -> Starved:
    """What to say of a disk that is full."""
    free = psutil.disk_usage(str(folder)).free // _MB
    return Starved(f"{_DISK} ({need}, and {folder} has {free} MB).\n{_DISK_FIX}")


def _chain(failure: BaseException | None) -> Iterator[str]:
    """A failure and what it came from, in words. A learner's may come from itself."""
    told: list[BaseException] = []
    while failure is not None and not any(failure is each for each in told):
        yield f"{type(failure).__name__}: {failure}"
        told.append(failure)
        failure = failure.__cause__ or failure.__context__


def require(need: Need) -> None:
    """Say what is missing, before anything is started that would fail half-way.

    Raises:
        Starved: When a limit is lower than what is needed.
    """
    for shortage in shortages(need):
        raise shortage


def shortages(need: Need) -> Iterator[Starved]:
    """Each limit of this process that is lower than what is needed."""
    tasks = tasks_left()
    if tasks is not None and tasks < need.tasks:
        yield Starved(f"{_TASKS}: {need.what} needs {need.tasks}, and {max(0, tasks)} are left.\n{_TASKS_FIX}")
    files = _resource_limit("RLIMIT_NOFILE")
    if files is not None and files < _FILES_OF_A_PROCESS:
        yield Starved(f"{_FILES}: each process of {need.what} needs {_FILES_OF_A_PROCESS}, not {files}.\n{_FILES_FIX}")
    memory = memory_limit()
    if memory is not None and memory < need.memory:
        yield Starved(
            f"{_MEMORY}: {need.what} needs {need.memory // _MB} MB, and the limit is {memory // _MB} MB.\n{_MEMORY_FIX}"
        )
    space = _resource_limit("RLIMIT_AS")
    if space is not None and space < need.address_space:
        yield Starved(
            f"{_MEMORY}: a process of {need.what} reserves {need.address_space // _MB} MB, and its limit is "
            f"{space // _MB} MB.\n{_MEMORY_FIX}"
        )


def tasks_left() -> int | None:
    """How many processes and threads this account may still start; None when no low limit is set."""
    left = [limit - used for limit, used in _cgroups("pids", ("pids.max", "pids.current"))]
    limit = _resource_limit("RLIMIT_NPROC")
    if sys.platform != "win32" and limit is not None and limit < _FEW_TASKS:
        if os.geteuid() != 0:  # it is no limit for root
            left.append(limit - _tasks_of(os.geteuid()))
    return min((each for each in left if each < _FEW_TASKS), default=None)


def memory_limit() -> int | None:
    """How many bytes the processes of this container may have together; None when no limit is set."""
    names = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    limits = [limit for both in names for limit, _ in _cgroups("memory", both)]
    return min((limit for limit in limits if limit < _UNLIMITED_BYTES), default=None)


def _tasks_of(account: int) -> int:
    tasks = 0
    for process in psutil.process_iter(["uids", "num_threads"]):
        if process.info["uids"] and process.info["uids"].real == account:
            tasks += process.info["num_threads"] or 0
    return tasks


def _resource_limit(name: str) -> int | None:
    """A limit of this process, as `ulimit` sets it; None where there is none."""
    if sys.platform == "win32" or AS_ON_WINDOWS:
        return None
    import resource

    limit: int = resource.getrlimit(getattr(resource, name))[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _cgroups(controller: str, names: tuple[str, str]) -> Iterator[tuple[int, int]]:
    """The limit and the use in each control group that this process is in, the outer ones too, where they can be read.

    Linux has two versions of them. In the second, all controllers share one tree of folders.
    """
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", controller}:
            continue
        top = _CGROUPS / controllers
        place = top / path.lstrip("/")
        for folder in (place, *(each for each in place.parents if each.is_relative_to(top))):
            try:
                limit, used = ((folder / name).read_text(encoding="ascii").strip() for name in names)
            except OSError:  # the outermost has no limits; a container may not show its own path
                continue
            if limit.isdigit() and used.isdigit():
                yield int(limit), int(used)
