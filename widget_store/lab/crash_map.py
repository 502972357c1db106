"""The results of a crash test as a map: scenarios down, crash points across."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from widget_store.lab.crash_run import Verdict

if TYPE_CHECKING:
    from widget_store.lab.crash_test import Report


def show(report: "Report", console: Console) -> None:
    """Print the map, and what went wrong."""
    table = Table("scenario", "crash points", "safe", "broken", "hung", "not reached")
    for name in dict.fromkeys(result.scenario for result in report.recorded):
        verdicts = [result.verdict for result in report.results if result.scenario == name]
        table.add_row(
            name,
            str(len(verdicts)),
            *(str(verdicts.count(each)) for each in (Verdict.SAFE, Verdict.BROKEN, Verdict.HUNG, Verdict.NOT_REACHED)),
        )
    console.print(table)
    for failure in report.failures:
        console.print(f"{failure.scenario} | {failure.point or 'no crash'} | {failure.verdict}")
        for violation in failure.violations:
            console.print(f"    {violation}")
    console.print(f"{len(report.results)} runs with a crash in {report.seconds:.1f} s")
