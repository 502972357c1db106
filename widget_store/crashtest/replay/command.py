"""The command `widget-store replay`: what it prints, and its exit status."""

import argparse
import json
import sys

from widget_store.crashtest.replay import replay
from widget_store.errors import WidgetStoreError

_CANNOT = 2


def main(options: argparse.Namespace, loader: str | None = None) -> int:
    """Replay, and print the report.

    Returns:
        0 when all is the same, 1 when a workflow differs, 2 when nothing was compared.
    """
    try:
        report = replay(
            options.app,
            database_url=options.database_url,
            schema=options.schema,
            finished=options.all,
            limit=options.limit,
            time_limit=options.time_limit,
            loader=loader,
        )
    except WidgetStoreError as error:
        print(f"widget-store replay: {error}", file=sys.stderr)
        return _CANNOT
    print(json.dumps(report.as_json(), indent=2) if options.json else "\n".join(report.lines()))
    if not report.workflows:
        also = "" if options.all else " Finished workflows are replayed with --all."
        print(f"widget-store replay: there is no workflow to replay.{also}", file=sys.stderr)
        return _CANNOT
    return 0 if report.same else 1
