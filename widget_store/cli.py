"""The `widget-store` command: each subcommand is one function, named once in the table at the foot."""

import argparse
import sys
from pathlib import Path

from widget_store.errors import WidgetStoreError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status. A user's mistake is explained in words, without a traceback."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except WidgetStoreError as error:
        print(f"widget-store {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def serve(options: argparse.Namespace) -> None:
    """The store, supervised: a process that dies is back at once."""
    from widget_store import supervisor
    from widget_store.settings import read_settings

    plan = supervisor.Plan(
        settings=read_settings(),
        host=options.host,
        port=options.port,
        app_file=options.app,
        workers=options.workers,
        restart=not options.no_restart,
        crash_endpoint=options.crash_endpoint,
        any_host=options.any_host,
        stop_with_stdin=options.stop_with_stdin,
    )
    supervisor.run(plan, announce=lambda url: print(f"ready {url}", flush=True))


def reset(_options: argparse.Namespace) -> None:
    """Back to a full shelf and no orders or workflows."""
    from widget_store.reset import reset_store
    from widget_store.settings import read_settings

    reset_store(read_settings())
    print("The shelf is full; there are no orders and no workflows.")


def stop_database(_options: argparse.Namespace) -> int:
    """Stop the embedded PostgreSQL, if nothing uses it."""
    from widget_store.database import stop_embedded_postgres
    from widget_store.settings import read_settings

    stopped = stop_embedded_postgres(read_settings().data_dir)
    print("The embedded PostgreSQL is stopped." if stopped else "A store or a notebook still uses the database.")
    return 0 if stopped else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="widget-store", description="A fault-tolerant widget store, to crash and to learn from.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="run the store; a crashed process is restarted at once")
    command.add_argument("--app", type=Path, metavar="FILE", help="a Python file with a checkout_workflow(key) to serve instead")
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    command.add_argument("--port", type=_port, default=8000, help="the port (%(default)s); 0 takes a free one")
    command.add_argument("--workers", type=_positive, default=1, metavar="N", help="serving processes (%(default)s)")
    command.add_argument("--no-restart", action="store_true", help="end when the serving process dies")
    command.add_argument("--crash-endpoint", action="store_true", help="let POST /crash_application kill the process")
    command.add_argument("--any-host", action="store_true", help="answer under any host name: only behind a proxy that signs users in")
    command.add_argument("--stop-with-stdin", action="store_true", help="end when standard input is closed")
    command.set_defaults(run=serve)

    command = commands.add_parser("reset", help="back to a full shelf, no orders and no workflows")
    command.set_defaults(run=reset)

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
        raise argparse.ArgumentTypeError("at least 1")
    return number
