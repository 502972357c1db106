"""The command `widget-store workshop`: its options."""

import argparse
import os
import signal
import sys
from pathlib import Path

from widget_store.classroom.plan import FOLDER, MOST_SEATS, Plan
from widget_store.errors import WidgetStoreError, WorkshopUnavailable
from widget_store.system.interrupts import end_in_good_order


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if len(options.reset or []) > 2:
        parser.error("--reset takes SEAT, or SEAT NOTEBOOK")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it: so would the Hub
    end_in_good_order()
    os.umask(0o077)
    try:
        if sys.platform != "linux":
            raise WorkshopUnavailable("A workshop needs Linux. On other systems, each learner runs: widget-store lab")
        _do(options)
    except WidgetStoreError as error:
        print(f"widget-store workshop: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _do(options: argparse.Namespace) -> None:
    from widget_store.classroom import workshop

    folder = options.folder.absolute()
    if os.geteuid() != 0:
        raise WorkshopUnavailable("A workshop makes accounts and networks: run it as root, with sudo for example.")
    if options.stop:
        workshop.stop(folder, keep=options.keep)
    elif options.add_seats is not None:
        workshop.add_seats(folder, options.add_seats)
    elif options.reset is not None:
        seat, *notebook = options.reset
        workshop.reset_seat(folder, seat, *notebook)
    else:
        plan = Plan(
            folder,
            host=options.host,
            port=options.port,
            certificate=options.certificate and options.certificate.absolute(),
            key=options.key and options.key.absolute(),
            memory_mb=options.memory,
            tasks=options.tasks,
            idle_minutes=options.idle,
        )
        workshop.run(plan, options.seats, keep=options.keep)


def _number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_SEATS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST_SEATS}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="widget-store workshop",
        description="A JupyterHub for a class, on one Linux server: run it as root. Ctrl-C stops it.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--seats", type=_number, default=12, metavar="N", help="how many learners (%(default)s)")
    what.add_argument("--add-seats", type=_number, metavar="N", help="add seats to the workshop that runs")
    what.add_argument(
        "--reset",
        nargs="+",
        metavar=("SEAT", "NOTEBOOK"),
        help="a new copy of one lesson, as in: --reset seat-03 04; without it, the seat is free again",
    )
    what.add_argument("--stop", action="store_true", help="stop the workshop that runs, or what is left of one")
    parser.add_argument("--keep", action="store_true", help="keep accounts, files and databases for the next day")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the port (%(default)s)")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="the TLS certificate, with its chain (PEM)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the certificate's key (PEM)")
    parser.add_argument("--memory", type=int, default=1500, metavar="MB", help="memory of each seat (%(default)s)")
    parser.add_argument("--tasks", type=int, default=400, metavar="N", help="processes of each seat (%(default)s)")
    parser.add_argument("--idle", type=int, default=120, metavar="MINUTES", help="then an unused server is stopped")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where all of it is kept (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
