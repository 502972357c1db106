"""The command `widget-store crash-test`: its options, its progress, and what it prints."""

import argparse
import contextlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from widget_store.crashtest import crash_map, search
from widget_store.crashtest.faults import DATABASE_CRASH, FAULTS
from widget_store.crashtest.junit import as_junit
from widget_store.crashtest.results import Report
from widget_store.crashtest.workload import find_workload
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
    _refuse_what_does_not_go_together(parser, options)
    end_in_good_order()
    try:
        return _soak(options) if options.soak is not None else _crash_test(options)
    except WidgetStoreError as error:
        print(f"widget-store crash-test: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("widget-store crash-test: stopped.", file=sys.stderr)
        return 130


def _refuse_what_does_not_go_together(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.soak is not None and (options.scenario or options.point or options.pairs):
        parser.error("--soak plays no scenarios: it takes --app, --workers, --seed and --json only")
    if options.workers is not None and options.soak is None:
        parser.error("--workers is for --soak: a crash test has one worker")
    if options.workload and (options.app or options.scenario or options.soak is not None):
        parser.error("--app, --scenario and --soak are for a checkout: a workload names its own application")


def _soak(options: argparse.Namespace) -> int:
    seed = random.randrange(1_000_000) if options.seed is None else options.seed  # noqa: S311 - no secret
    return soak.main(soak.Plan(options.soak, seed, options.app, options.workers or 1), as_json=options.json)


def _crash_test(options: argparse.Namespace) -> int:
    with _progress_bar() as progress:
        report = crash_test(_plan(options), progress=progress)
    if options.junit is not None:
        options.junit.write_text(as_junit(report), encoding="utf-8")
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        crash_map.show(report, Console())
    if what_is_missing := _what_was_not_tried(report):
        print(f"widget-store crash-test: {what_is_missing}", file=sys.stderr)
    return 0 if report.is_safe else 1


def _plan(options: argparse.Namespace) -> search.Plan:
    points, fault = tuple(options.point or search.ALL), FAULTS[options.fault]
    if options.workload:
        workload = find_workload(options.workload)
        plan = search.Plan((workload,), points, options.pairs, options.jobs, options.time_limit, fault=fault)
        return replace(plan, jobs=1) if fault == DATABASE_CRASH else plan  # all runs have one server
    scenarios = tuple(SCENARIOS[name] for name in options.scenario or SCENARIOS)
    plan = Plan(options.app, scenarios, points, options.pairs, options.jobs).workloads()
    return replace(plan, time_limit=options.time_limit or plan.time_limit)


def _what_was_not_tried(report: Report) -> str:
    if report.untried and not report.failures:
        return f"{' and '.join(map(in_a_line, report.untried))} came to no crash point, so nothing was tried."
    if report.never_seen:
        return f"no run has seen {' or '.join(map(in_a_line, report.never_seen))}: too little was tried."
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
        description="Kill an application at every crash point, recover it, and check what is left.",
    )
    parser.add_argument(
        "workload",
        nargs="?",
        metavar="FILE::WORKLOAD",
        help="a class in a Python file that says what is asked of an application of your own",
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
        metavar="SECONDS",
        help="a run that takes longer counts as hung (30, or what the workload says)",
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
    parser.add_argument(
        "--fault",
        choices=list(FAULTS),
        default="kill",
        help="what happens at the crash points of a workload: %(choices)s (%(default)s)",
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
