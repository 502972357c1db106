"""The command `widget-store crash-test`: its options, its progress, and what it prints."""

import argparse
import contextlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from widget_store.crashtest import crash_map
from widget_store.crashtest.results import Report
from widget_store.errors import WidgetStoreError
from widget_store.lab import soak
from widget_store.lab.crash_test import Plan, crash_test
from widget_store.lab.scenarios import SCENARIOS
from widget_store.plain_text import in_a_line
from widget_store.system.interrupts import end_in_good_order


def main(arguments: list[str] | None = None) -> int:
    """The command: run the crash test, print its map, and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.soak is not None and (options.scenario or options.point or options.pairs):
        parser.error("--soak plays no scenarios: it takes --app, --workers, --seed and --json only")
    if options.workers is not None and options.soak is None:
        parser.error("--workers is for --soak: a crash test has one worker")
    end_in_good_order()
    plan = Plan(
        app_file=options.app,
        scenarios=tuple(SCENARIOS[name] for name in options.scenario or SCENARIOS),
        points=tuple(options.point or ["*"]),
        pairs=options.pairs,
        jobs=options.jobs,
        time_limit=options.time_limit,
    )
    try:
        if options.soak is not None:
            seed = random.randrange(1_000_000) if options.seed is None else options.seed  # noqa: S311 - no secret
            soak_plan = soak.Plan(options.soak, seed, options.app, options.workers or 1)
            return soak.main(soak_plan, as_json=options.json)
        with _progress_bar() as progress:
            report = crash_test(plan, progress=progress)
    except WidgetStoreError as error:
        print(f"widget-store crash-test: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("widget-store crash-test: stopped.", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        crash_map.show(report, Console())
    if what_is_missing := _what_was_not_tried(report):
        print(f"widget-store crash-test: {what_is_missing}", file=sys.stderr)
    return 1 if report.failures or what_is_missing else 0


def _what_was_not_tried(report: Report) -> str:
    if any(not result.points for result in report.failures):
        return "a scenario fails even without a crash, so its crash points were not tried. Fix that first."
    if not report.never_met:
        return ""
    known = sorted({point for result in report.recorded for point in result.reached})
    names = " or ".join(map(in_a_line, report.never_met))
    return "\n  ".join([f"no crash point matches {names}. The crash points are:", *map(in_a_line, known)])


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("runs", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="widget-store crash-test",
        description="Kill a checkout at every crash point, recover it, and check the books.",
    )
    parser.add_argument("--app", type=Path, metavar="FILE", help="a Python file with a checkout_workflow(key) to test")
    parser.add_argument(
        "--scenario",
        action="append",
        choices=list(SCENARIOS),
        metavar="NAME",
        help=f"play only this one of: {', '.join(SCENARIOS)}",
    )
    parser.add_argument(
        "--point",
        action="append",
        metavar="NAME",
        help="try only the crash points with this name; * stands for any text",
    )
    parser.add_argument(
        "--pairs", action="store_true", help="also kill each recovery, right before each of its commits"
    )
    parser.add_argument(
        "--jobs", type=_positive, default=os.cpu_count() or 1, metavar="N", help="how many runs at a time (%(default)s)"
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="a run that takes longer counts as hung (%(default)s)",
    )
    parser.add_argument(
        "--soak",
        type=float,
        metavar="SECONDS",
        help=(
            f"instead of scenarios: {soak.CUSTOMERS} customers buy for this many seconds, and the store is killed "
            "at random moments"
        ),
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="the seed of the soak's random decisions; a random one by default"
    )
    parser.add_argument("--workers", type=_positive, metavar="N", help="how many workers serve in the soak (1)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
