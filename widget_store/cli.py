"""The `widget-store` command: each subcommand is one function, named once in the table at the foot."""

import argparse
import errno
import io
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from widget_store.errors import LabUnavailable, WidgetStoreError
from widget_store.plain_text import plain
from widget_store.system.interrupts import hear_interrupts, hold_interrupts

if TYPE_CHECKING:
    from widget_store.crashtest.points import CrashPoints


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status. A user's mistake is told in words, without a traceback."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):  # a folder's name may have letters that this terminal can't show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    options, more = parser.parse_known_args(arguments)
    if more and "more" not in options:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    options.more = more
    try:
        hear_interrupts()
        status = int(options.run(options) or 0)
        sys.stdout.flush()
        return status
    except WidgetStoreError as error:
        print(f"widget-store {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as failure:
        if not _is_told(failure, options.command):
            raise
        return 1


def _is_told(failure: Exception, command: str) -> bool:
    """Whether a failure can be told in words: the machine has not enough, or nobody reads what is printed."""
    from widget_store.system.limits import lack

    if isinstance(failure, OSError) and failure.errno in {errno.EPIPE, errno.ENOSPC}:  # standard output takes no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if failure.errno == errno.EPIPE:
            return True
    if (starved := lack(failure)) is None:
        return False
    print(f"widget-store {command}: {starved}", file=sys.stderr)
    return True


def _open_what_is_closed() -> None:
    """Give a process whose standard streams were closed, as by `>&-`, others: a file would take their place."""
    for descriptor, stream in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest free number: this one
            setattr(sys, stream, open(descriptor, "r" if descriptor == 0 else "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def serve(options: argparse.Namespace) -> None:
    """The store, supervised: a process that dies is back at once."""
    from widget_store.system.limits import STORE, require
    from widget_store.system.processes import warm_processes

    require(STORE)
    crashing = ["widget_store.crashtest.points"] if options.crash_endpoint else []
    warm_processes(
        "widget_store.serving.warm", *crashing
    )  # they import at the same time as this one does, from here on
    from widget_store.serving import supervisor
    from widget_store.settings import read_settings

    plan = supervisor.Plan(
        settings=read_settings(),
        host=options.host,
        port=options.port,
        app_file=options.app,
        workers=options.workers,
        restart=not options.no_restart,
        crash_points=_crash_points if options.crash_endpoint else None,
        any_host=options.any_host,
        stop_with_stdin=options.stop_with_stdin,
        application_version=options.application_version,
        fresh=options.fresh,
        alone=options.alone,
    )
    supervisor.run(plan, announce=lambda url: print(f"ready {url}", flush=True))


def _crash_points() -> "CrashPoints":
    """What a worker is crashed with. Called there: this process need not import it."""
    from widget_store.crashtest.points import CrashPoints

    return CrashPoints()


def lab(options: argparse.Namespace) -> int:
    """JupyterLab on the learner's copy of the course."""
    from widget_store.course import jupyterlab
    from widget_store.settings import PREFIX

    if folder := os.environ.get(f"{PREFIX}DATA_DIR"):
        os.environ[f"{PREFIX}DATA_DIR"] = os.path.abspath(folder)  # noqa: PTH100 - kernels have other current folders
    arguments = jupyterlab.prepare(options.more, options.fresh)
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )  # of its terminals
    return _run_python("lab", "jupyterlab", *arguments)


def doctor(options: argparse.Namespace) -> int:
    """What the kit needs of this machine, each failure with its fix."""
    if options.report:
        from widget_store.report import report

        print(report())
        return 0
    from widget_store.doctor import examine

    return 0 if examine() else 1


def bench(options: argparse.Namespace) -> int:
    """The benchmarks, in a process of their own."""
    return _run_python("bench", "widget_store.benchmarks", *options.more)


def crash_test(options: argparse.Namespace) -> int:
    """Every crash point of a checkout, in a process of its own."""
    return _run_python("crash-test", "widget_store.lab.crash_test_command", *options.more)


def workshop(options: argparse.Namespace) -> int:
    """A JupyterHub for a class, in a process of its own."""
    return _run_python("workshop", "widget_store.classroom", *options.more)
