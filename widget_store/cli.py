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


def replay(options: argparse.Namespace) -> int:
    """Stored workflows, replayed with changed code."""
    from widget_store.crashtest.replay import command

    if not options.store:
        return command.main(options)
    from widget_store.databases import open_database
    from widget_store.settings import read_settings

    with open_database(read_settings()) as database:
        options.database_url = database.system_url
        return command.main(options, loader="widget_store.serving.replayed:load")


def workshop(options: argparse.Namespace) -> int:
    """A JupyterHub for a class, in a process of its own."""
    return _run_python("workshop", "widget_store.classroom", *options.more)


def progress(options: argparse.Namespace) -> int:
    """The exercises of the course, and how far the learner has come."""
    if options.folder is not None and not Path(options.folder).is_dir():
        raise LabUnavailable(
            f"There is no folder {options.folder}.\nName that of your copy of the course, or make one: widget-store lab"
        )
    return _run_python("progress", "widget_store.course.progress", *filter(None, [options.folder]))


def reset(options: argparse.Namespace) -> None:
    """Back to a full shelf and no orders or workflows."""
    from widget_store.serving.reset import in_words, reset_store
    from widget_store.settings import read_settings
    from widget_store.system.limits import COMMAND, require

    require(COMMAND)
    kept = reset_store(read_settings(), options.drop)
    print("The shelf is full; there are no orders and no workflows.")
    if options.drop:
        print(plain(f"Dropped: {', '.join(options.drop)}."))
    if kept:
        print(plain(in_words(kept)))


def stop_database(_options: argparse.Namespace) -> int:
    """Stop the embedded PostgreSQL, if nothing uses it."""
    from widget_store.databases import stop_embedded_postgres
    from widget_store.settings import read_settings

    stopped = stop_embedded_postgres(read_settings().data_dir)
    print(
        "The embedded PostgreSQL is stopped."
        if stopped
        else "A store or a notebook still uses the database. Stop the store with Ctrl-C, or shut down the kernel."
    )
    return 0 if stopped else 1


def _run_python(command_name: str, module: str, *arguments: str) -> int:  # noqa: RET503 - execv does not return
    """Run a module with this Python as a program of its own, and return its exit status."""
    # -P: a learner's random.py is not imported
    command = [sys.executable, "-P", "-m", "widget_store.system.run_module", command_name, module, *arguments]
    if sys.platform == "win32":
        return subprocess.call(command)
    hold_interrupts()
    os.execv(sys.executable, command)  # noqa: S606 - in place of this process: one to stop, not two


def _version() -> str:
    try:
        return metadata.version("widget-store")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="widget-store", description="A fault-tolerant widget store, to crash and to learn from."
    )
    parser.add_argument("--version", action="version", version=f"widget-store {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="run the store; a crashed process is restarted at once")
    command.add_argument(
        "--app",
        type=Path,
        metavar="FILE",
        help="a Python file with your own checkout_workflow(key), to serve instead of the store's",
    )
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    command.add_argument("--port", type=_port, default=8000, help="the port (%(default)s); 0 takes a free one")
    command.add_argument(
        "--workers", type=_positive, default=1, metavar="N", help="how many serving processes (%(default)s)"
    )
    command.add_argument("--no-restart", action="store_true", help="stop when the serving process dies")
    command.add_argument("--crash-endpoint", action="store_true", help="let POST /crash_application kill the process")
    command.add_argument(
        "--any-host",
        action="store_true",
        help="answer under any host name: only behind a proxy that signs users in",
    )
    command.add_argument(
        "--application-version",
        metavar="TEXT",
        help="the version of the workflows' code, which the kit pins; an order that began with another version waits "
        "for that one; auto: a hash of the source",
    )
    command.add_argument("--fresh", action="store_true", help="reset the store first: a full shelf and no orders")
    command.add_argument(
        "--alone", action="store_true", help="refuse to start when another store runs on the same database"
    )
    command.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input is closed")
    command.set_defaults(run=serve)

    command = commands.add_parser(
        "lab",
        help="open JupyterLab on your own copy of the course",
        usage="widget-store lab [FOLDER] [--fresh NOTEBOOK]... [ARGUMENT OF JUPYTERLAB]...",
        description="Your copy is in FOLDER (widget-store-course), created if needed. Your changes there stay.",
        epilog="Other arguments are passed to JupyterLab, as in: widget-store lab FOLDER --no-browser --port 8890",
        allow_abbrev=False,  # what looks like the beginning of an option of ours may be one of JupyterLab's
    )
    command.add_argument(
        "--fresh",
        action="append",
        default=[],
        metavar="NOTEBOOK",
        help="get a new copy of this lesson, as in: --fresh 04; your own is kept beside it",
    )
    command.set_defaults(run=lab, more=[])

    command = commands.add_parser("doctor", help="check this machine; each failure prints its fix")
    command.add_argument(
        "--report", action="store_true", help="print a text for a bug report, without passwords and names of persons"
    )
    command.set_defaults(run=doctor)

    command = commands.add_parser("reset", help="reset the store: a full shelf, no orders and no workflows")
    command.add_argument(
        "--drop",
        nargs="+",
        default=[],
        metavar="TABLE",
        help="also drop these tables, which a checkout file of your own has made; all others stay",
    )
    command.set_defaults(run=reset)

    command = commands.add_parser(
        "crash-test",
        help="kill a checkout at every crash point, recover it, and check the books",
        add_help=False,  # its own help says more
    )
    command.set_defaults(run=crash_test, more=[])

    command = commands.add_parser("replay", help="replay stored workflows with changed code, before a release")
    command.add_argument(
        "--app", required=True, metavar="FILE", help="the new code: a Python file, or the name of a module"
    )
    command.add_argument(
        "--database-url",
        metavar="URL",
        help="DBOS's system database; if not given, that of DBOS_SYSTEM_DATABASE_URL, then what the file itself names",
    )
    command.add_argument(
        "--schema", help="the schema of DBOS's tables, if the file does not name it and it is not dbos"
    )
    command.add_argument("--store", action="store_true", help="FILE has a checkout: replay the orders of this store")
    command.add_argument("--all", action="store_true", help="replay finished workflows, too")
    command.add_argument(
        "--limit", type=_positive, default=1000, metavar="N", help="replay at most so many workflows (%(default)s)"
    )
    command.add_argument(
        "--time-limit", type=float, default=30.0, metavar="SECONDS", help="how long each may take (%(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print the results as JSON")
    command.set_defaults(run=replay)

    command = commands.add_parser(
        "bench",
        help="measure how fast the store is, compared with its database alone",
        add_help=False,  # its own help says more
    )
    command.set_defaults(run=bench, more=[])

    command = commands.add_parser(
        "workshop",
        help="run a JupyterHub for a class, each seat an account of its own",
        add_help=False,  # its own help says more
    )
    command.set_defaults(run=workshop, more=[])

    command = commands.add_parser("progress", help="list the exercises of the course, and which you have solved")
    command.add_argument("folder", nargs="?", metavar="FOLDER", help="your copy of the course (widget-store-course)")
    command.set_defaults(run=progress)

    command = commands.add_parser("stop-database", help="stop the embedded PostgreSQL, if nothing uses it")
    command.set_defaults(run=stop_database)
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
