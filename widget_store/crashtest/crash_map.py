"""The results of a crash test as a map in the terminal, and one run as a timeline: both in words and letters.

The map has the scenarios down and their crash points across, one letter a point, grouped by step. A cell of it is a
point of a scenario; with pairs, all runs that begin with a crash there are summed up in it.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from widget_store.crashtest.results import Report, Result, Verdict
from widget_store.plain_text import in_a_line, plain
from widget_store.words import counted, ordinal

MEANINGS = {
    Verdict.SAFE: "every invariant holds in the end",
    Verdict.NOT_REACHED: "no process came to this point: nothing was tried",
    Verdict.HUNG: "not finished within the time limit",
    Verdict.BROKEN: "an invariant is broken, or a customer was told something false",
}
"""What each verdict means, in the order of the legend."""
LETTERS = {Verdict.BROKEN: "X", Verdict.HUNG: "H", Verdict.NOT_REACHED: "?", Verdict.SAFE: "·"}
"""How each verdict is shown, the worst first."""
_COLOURS = {Verdict.BROKEN: "bold red", Verdict.HUNG: "bold magenta", Verdict.NOT_REACHED: "bold yellow"}
_MAIN = "checkout_workflow"
_LONGEST_NAME, _LONGEST_LINE = 80, 500
_STATES = {
    "start": "was started",
    "end": "has ended",
    "fail": "has failed",
    "cancel": "was cancelled",
    "requeue": "waits for its recovery",
    "dequeue": "runs again",
}


@dataclass(frozen=True)
class Cell:
    """A crash point of a scenario, and the runs with a crash there.

    Attributes:
        point: Its name; empty for a scenario that fails without any crash.
    """

    scenario: str
    point: str
    runs: list[Result]

    @property
    def verdict(self) -> Verdict:
        """The worst of its runs' verdicts."""
        return worst([run.verdict for run in self.runs])


def cells(report: Report) -> dict[str, list[Cell]]:
    """The cells of each scenario, in the order in which its points were recorded."""
    rows: dict[str, dict[str, Cell]] = {run.scenario: {} for run in report.recorded}
    for run in report.results:
        point = run.points[0]
        rows.setdefault(run.scenario, {}).setdefault(point, Cell(run.scenario, point, [])).runs.append(run)
    return {scenario: list(row.values()) for scenario, row in rows.items()}


def by_step(row: list[Cell]) -> dict[str, list[list[Cell]]]:
    """The cells of a scenario by the name of their step; one group for each time it is a step of its workflow."""
    steps: dict[str, dict[str, list[Cell]]] = {}
    for cell in row:
        point = _Point.named(cell.point)
        label = in_a_line(f"{point.workflow.removesuffix('_workflow')}: {point.name}", _LONGEST_NAME)
        steps.setdefault(label, {}).setdefault(point.number, []).append(cell)
    return {label: list(groups.values()) for label, groups in steps.items()}


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict that counts when there are several."""
    return next((verdict for verdict in LETTERS if verdict in verdicts), Verdict.SAFE)


def in_words(verdict: Verdict) -> str:
    """A verdict as the legend has it."""
    return verdict.value.replace("_", " ")


def how_many_are_safe(row: list[Cell]) -> str:
    """How much of a row is safe."""
    return f"{sum(cell.verdict == Verdict.SAFE for cell in row)} of {len(row)}"


# --- in the terminal


def show(report: Report, console: Console) -> None:
    """Print the map, and what went wrong. Of a single run, print the timeline."""
    runs = report.results or report.recorded
    if len(runs) == 1:
        for line in timeline(runs[0]).splitlines():
            _print(line, console)
        return
    rows = cells(report)
    console.print(_map(report, rows))
    for verdict, meaning in MEANINGS.items():
        console.print(Text(f"{LETTERS[verdict]} {in_words(verdict)}: {meaning}"))
    for failure in report.failures:
        _tell(failure, report.target, console)
    tried = [cell for row in rows.values() for cell in row]
    each = f", {report.seconds / len(tried):.2f} s for each point" if tried else ""
    pairs = f" ({counted(len(report.results), 'run')} with pairs)" if len(report.results) > len(tried) else ""
    console.print(f"\n{how_many_are_safe(tried)} crash points safe{pairs}; {report.seconds:.1f} s{each}")


def _map(report: Report, rows: dict[str, list[Cell]]) -> Table:
    """A scenario in which all is safe is one row; of another, each step is."""
    fails_anyway = {run.scenario: run.verdict for run in report.recorded if run.verdict != Verdict.SAFE}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    table.add_column("crash points, step by step")
    table.add_column("safe", justify="right", no_wrap=True)
    for scenario, row in rows.items():
        name, steps = Text(in_a_line(scenario)), by_step(row)
        safe = how_many_are_safe(row)
        if scenario in fails_anyway:
            failed = _letter(fails_anyway[scenario]).append(" even without a crash", "not bold")
            table.add_row(name, failed, safe)
        elif all(cell.verdict == Verdict.SAFE for cell in row):
            table.add_row(name, _letters([group for step in steps.values() for group in step]), safe)
        else:
            table.add_row(name, "", safe)
            for label, groups in steps.items():
                table.add_row(Text(f"  {label}"), _letters(groups))  # a plain text might be taken for rich's markup
    return table


def _letters(groups: list[list[Cell]]) -> Text:
    return Text(" ").join(Text("").join(_letter(cell.verdict) for cell in group) for group in groups)


def _letter(verdict: Verdict) -> Text:
    return Text(LETTERS[verdict], _COLOURS.get(verdict, ""))


def _tell(failure: Result, target: str, console: Console) -> None:
    """A failure: where, what is wrong, and how to see it again."""
    console.print()
    heading = f" {in_a_line(failure.scenario)}: {in_a_line(failure.point) or 'even without a crash'}"
    console.print(_letter(failure.verdict).append(heading, "bold"), soft_wrap=True)
    for line in [*(f"killed {describe(point)}" for point in failure.points), *what_is_wrong(failure)]:
        _print(f"    {line}", console)
    console.print(Text(f"    {command(failure, target)}"), soft_wrap=True)  # in one piece, to be copied


def _print(line: str, console: Console) -> None:
    """Print a line; what does not fit is indented as the line is."""
    words = line.lstrip()
    console.print(Padding(Text(words), (0, 0, 0, len(line) - len(words)), expand=False) if words else "")


def what_is_wrong(run: Result) -> list[str]:
    """The violations of a run, or why there are none to look for."""
    if run.verdict == Verdict.NOT_REACHED:
        return ["not reached: no process came to this crash point, so nothing was tried"]
    return [plain(violation) for violation in run.violations]


def command(run: Result, target: str) -> str:
    """The command that makes this run again. That of a pair makes all pairs that begin with the same crash.

    Args:
        run: The run.
        target: What was tested: see `Report.target`.
    """
    is_a_workload = "::" in target
    words = ["widget-store crash-test", *([_quoted(target)] if is_a_workload else [target] if target else [])]
    if not is_a_workload:
        words.append(f"--scenario {_quoted(run.scenario)}")
    if run.points:
        words.append(f"--point {_quoted(run.points[0])}")
    if len(run.points) > 1:
        words.append("--pairs")
    return " ".join(words)


def _quoted(name: str) -> str:
    """A name for a shell. It may be a learner's, as in `$(reboot)`; in that of a crash point, `?` is any character."""
    visible = "".join(each if plain(each) == each and each != "\n" else "?" for each in name)
    return shlex.quote(visible) if set(visible) & set('"$`\\!') else f'"{visible}"'


# --- one run


def timeline(run: Result) -> str:
    """What each process of a run went through: up to its death, and after the recovery; and the verdict."""
    lines = [f"{in_a_line(run.scenario)}: {in_a_line(run.point, _LONGEST_LINE) or 'no crash'}"]
    kills = list(run.points)
    for number, life in enumerate(run.lives, start=1):
        lines += ["", f"process {number}{', which recovers the workflows' if number > 1 else ''}"]
        killed = bool(kills) and life[-1:] == kills[:1]
        lines += [f"    {line}" for line in _happenings(life)][: -1 if killed else None]
        if killed:
            lines.append(f"  X killed {describe(kills.pop(0))}")
        elif number < len(run.lives):
            lines.append("  X died by itself: the test did not kill it")
        else:
            lines.append("    still runs" if run.verdict == Verdict.HUNG else "    has nothing left to do")
    lines += ["", f"{LETTERS[run.verdict]} {in_words(run.verdict)}", *(f"    {line}" for line in what_is_wrong(run))]
    return "\n".join(lines)


def _happenings(life: list[str]) -> Iterator[str]:
    """What a process did. Of a commit that is known to have happened, what was right before it is left out."""
    for each in life:
        point = _Point.named(each)
        if point.phase == "body":
            yield f"{'begins' if point.is_before else 'ends'} {point.what()}"
        elif not point.is_before:
            yield f"commits {point.what()}"
        elif point.other_side() not in life:
            yield f"is about to commit {point.what()}"


def describe(point: str) -> str:
    """Where a crash point is, in words, as in "killed right after the commit of …"."""
    it = _Point.named(point)
    if it.phase == "body":
        return f"as {it.what()} {'begins' if it.is_before else 'ends'}"
    return f"right {'before' if it.is_before else 'after'} the commit of {it.what()}"


@dataclass(frozen=True)
class _Point:
    """The parts of a crash point's name; `widget_store.crashtest.points` says what they mean."""

    workflow: str
    number: str
    name: str
    phase: str
    side: str
    time: str

    @classmethod
    def named(cls, point: str) -> Self:
        place, phase, last = point.rsplit("/", 2)
        workflow, _, step = place.partition("/")
        side, _, time = last.partition("#")
        numbered = re.fullmatch(r"(\d+)\.(.*)", step, re.DOTALL)
        number, name = numbered.groups() if numbered else ("", step)
        return cls(workflow, number, name, phase, side, time)

    @property
    def is_before(self) -> bool:
        return self.side == "before"

    def other_side(self) -> str:
        step = f"{self.number}.{self.name}" if self.number else self.name
        side = "after" if self.is_before else "before"
        return f"{self.workflow}/{step}/{self.phase}/{side}{f'#{self.time}' if self.time else ''}"

    def what(self) -> str:
        """What is committed, or is run."""
        return in_a_line(self._what(), _LONGEST_LINE) + (f" ({ordinal(int(self.time))} time)" if self.time else "")

    def _what(self) -> str:
        change, _, workflows = self.name.partition(" ")
        who = (workflows or self.workflow).replace("+", " and ")
        phrases = {
            "effect": f"the work of {self._step()}",
            "checkpoint": f"DBOS's record of {self._step()}",
            "status": f"DBOS's record that {who} {_STATES.get(change, change)}",
            "message": f"a message to a workflow (topic {self.name.removeprefix('send ')})",
            "cleanup": f"DBOS's clean-up after {self.workflow}",
        }
        return phrases.get(self.phase, f"the {self.phase} of {self._step()}")

    def _step(self) -> str:
        if self.number:
            of = "" if self.workflow == _MAIN else f" of {self.workflow}"
            return f"{self.name} (step {self.number}{of})"
        return f"{self.name}, an HTTP call" if self.workflow == "http" else f"{self.workflow}, {self.name}"
