"""The command: run the benchmarks and print the figures."""

import argparse
import json
import sys

from rich.console import Console

from widget_store.benchmarks.figures import table
from widget_store.benchmarks.measurements import QUICK, Effort, measure
from widget_store.benchmarks.scratch import scratch
from widget_store.errors import WidgetStoreError
from widget_store.settings import read_settings
from widget_store.system.interrupts import end_in_good_order


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks, print the figures, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="widget-store bench", description="Measure the store, compared with its database alone."
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list of {name, value, unit, floor, ratio}")
    parser.add_argument("--growth", action="store_true", help="also with up to 100,000 finished orders in the tables")
    parser.add_argument(
        "--quick", action="store_true", help="take only one or two samples of each, to see that it works"
    )
    options = parser.parse_args(arguments)
    end_in_good_order()
    progress = Console(stderr=True, style="dim")
    try:
        with scratch(read_settings()) as settings:
            effort = QUICK if options.quick else Effort()
            figures = measure(settings, effort, progress.print, with_growth=options.growth)
    except WidgetStoreError as error:
        print(f"widget-store bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps([figure.as_json() for figure in figures], indent=2))
    else:
        Console().print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
