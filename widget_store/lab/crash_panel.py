"""The map of a crash test in a notebook: scenarios down, crash points across; one of them can be run again."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from widget_store.crashtest import search
from widget_store.crashtest.crash_map import (
    LETTERS,
    MEANINGS,
    Cell,
    by_step,
    cells,
    describe,
    how_many_are_safe,
    in_words,
    timeline,
    what_is_wrong,
    worst,
)
from widget_store.crashtest.results import Report, Result, Verdict
from widget_store.crashtest.workload import Workload
from widget_store.errors import WidgetStoreError
from widget_store.lab.crash_test import Plan, crash_test
from widget_store.lab.panel import Panel, as_message, button, in_a_row, refresh_button
from widget_store.lab.scenarios import SCENARIOS, Scenario
from widget_store.plain_text import as_html, failure_in_words, in_a_line
from widget_store.settings import Settings

_STYLE = """
.ws-map { color: var(--jp-ui-font-color1, #212121); font: 13px system-ui, sans-serif; line-height: 1.3; }
.ws-map table { border-collapse: collapse; }
.ws-map tr { border-top: 1px solid color-mix(in srgb, currentColor 30%, transparent); }
.ws-map th { text-align: left; vertical-align: top; padding: 8px 20px 8px 0; font-weight: 600; white-space: nowrap; }
.ws-map th small { display: block; font-weight: 400; font-size: 12px; }
.ws-map td { display: flex; flex-wrap: wrap; gap: 8px 18px; padding: 8px 0; text-align: left; }
.ws-map .step > small { display: block; font-size: 11px; }
.ws-map .step > span { display: flex; flex-wrap: wrap; gap: 3px 8px; max-width: 610px; }
.ws-map .step > span > span { display: flex; gap: 1px; }
.ws-map b { box-sizing: border-box; width: 17px; height: 19px; border: 1px solid currentColor; border-radius: 3px;
text-align: center; font: 700 12px/17px ui-monospace, monospace; }
.ws-map .safe { font-weight: 400; border-color: color-mix(in srgb, currentColor 45%, transparent); }
.ws-map .broken { color: #fff; background: #b3261e repeating-linear-gradient(45deg, #b3261e 0 3px, #8c1d18 3px 6px);
border-color: var(--jp-ui-font-color1, #212121); }
.ws-map .hung { color: #fff; background: #6a3d9a repeating-linear-gradient(0deg, #6a3d9a 0 3px, #4f2d74 3px 6px);
border-color: var(--jp-ui-font-color1, #212121); }
.ws-map .not_reached { border-style: dashed; }
.ws-map .chosen { outline: 2px solid var(--jp-ui-font-color1, #212121); outline-offset: 2px; }
.ws-map .legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 8px; }
.ws-map .legend b, .ws-map td > span > b { display: inline-block; margin-right: 5px; }
.ws-story { box-sizing: border-box; width: 0; min-width: 100%; max-height: 420px; overflow: auto; white-space: pre-wrap;
word-break: normal; overflow-wrap: normal; padding: 8px 12px; color: var(--jp-ui-font-color1, #212121);
border-left: 3px solid currentColor; font: 12px/1.5 ui-monospace, monospace; }
"""
_NO_CRASH = ""
_LONGEST_STORY = 50_000
_HOW_TO_READ = "<span>One box for each crash point, in their order, by step. The outlined box is chosen below.</span>"


def try_every_crash_point(
    app: "str | Path | Workload | type[Workload] | None" = None,
    scenarios: Sequence[str | Scenario] = ("paid", "declined"),
    points: Sequence[str] = ("*",),
) -> "CrashMap":
    """Kill an application at each of its crash points, let it recover, and check what is left.

    Args:
        app: A file with a checkout of your own, or a `Workload` of any application; the store's own checkout by
            default.
        scenarios: Scenarios of a checkout, or the names of those in `SCENARIOS`.
        points: Patterns of the crash points to try; all by default.

    Returns:
        The map of the results, a panel.

    Raises:
        AppFileError: When the file can't be used.
        KeyError: When there is no scenario with that name.
        DatabaseUnavailable: When the database can't be started or does not answer.
    """
    from IPython.display import display  # here, as it is of use in a notebook only

    plan = _plan(app, scenarios, tuple(points))
    progress = _Progress("Trying every crash point …")
    display(progress)  # type: ignore[no-untyped-call]

    def tell(done: int, of: int) -> None:
        progress.value = f"{done} of {of} runs done"

    try:
        return CrashMap(crash_test(plan, progress=tell), plan)
    finally:
        progress.close()


def _plan(
    app: "str | Path | Workload | type[Workload] | None", scenarios: Sequence[str | Scenario], points: tuple[str, ...]
) -> search.Plan:
    if isinstance(app, type):
        app = app()
    if isinstance(app, Workload):
        return search.Plan((app,), points)
    chosen = tuple(SCENARIOS[each] if isinstance(each, str) else each for each in scenarios)
    return Plan(None if app is None else Path(app), chosen, points).workloads()


class _Progress(widgets.Label):  # type: ignore[misc]  # ipywidgets has no types
    """What is seen while a crash test runs. Nothing of it is left, in a stored notebook neither."""

    def __repr__(self) -> str:
        return ""


class CrashMap(Panel):
    """The map of a crash test. A button makes one of its runs again, and shows what happened in it.

    Args:
        report: The results to show.
        plan: What was tested; the store's own scenarios by default.
        settings: They say on which kind of database it runs again; those of the environment by default.
    """

    def __init__(
        self,
        report: Report,
        plan: search.Plan | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.report = report
        self._plan = plan or Plan().workloads()
        self._settings = settings
        self._rows = cells(report)
        self.picture = widgets.HTML(layout=widgets.Layout(width="100%"))
        self.scenario = widgets.Dropdown(
            options=[(in_a_line(each), each) for each in self._rows], description="Scenario"
        )
        self.point = widgets.Dropdown(
            description="Killed at", layout=widgets.Layout(width="520px", max_width="calc(100% - 4px)")
        )
        self.again = button("Run again", "repeat", "primary", "Play this scenario again, with the crash at this point")
        refresh = refresh_button()
        self.message = widgets.HTML()
        self.story = widgets.HTML(layout=widgets.Layout(width="100%"))
        self.scenario.observe(lambda _change: self._offer_points(), "value")
        self.point.observe(lambda _change: self._draw(), "value")
        self.again.on_click(lambda _button: self._run_again())
        refresh.on_click(lambda _button: self.show_again())
        if report.failures:
            self.scenario.value = report.failures[0].scenario
        self._offer_points()
        controls = in_a_row(self.scenario, self.point, self.again, refresh)
        super().__init__([self.picture, controls, self.message, self.story])
        if report.never_met and not any(run.verdict != Verdict.SAFE for run in report.recorded):
            self._say("alert", f"? Not tried: no scenario reaches {' or '.join(report.never_met)}.")

    def __repr__(self) -> str:
        """The verdict on each scenario: what does not change from one test to the next."""
        verdicts = (f"{in_a_line(scenario)} {in_words(self._verdict_on(scenario))}" for scenario in self._rows)
        return f"CrashMap: {', '.join(verdicts)}"

    def _verdict_on(self, scenario: str) -> Verdict:
        runs = [*self.report.recorded, *self.report.results]
        return worst([run.verdict for run in runs if run.scenario == scenario])

    def _offer_points(self) -> None:
        """Let a point of the chosen scenario be chosen: the first that is not safe, to begin with."""
        row = self._rows.get(self.scenario.value, [])
        options = [(f"{LETTERS[cell.verdict]} {in_a_line(cell.point)}", cell.point) for cell in row]
        self.point.options = options or [("nowhere", _NO_CRASH)]
        unsafe = (cell.point for cell in row if cell.verdict != Verdict.SAFE)
        self.point.value = next(unsafe, self.point.options[0][1])
        self._draw()

    def _draw(self) -> None:
        self.picture.value = draw(self.report, (self.scenario.value, self.point.value))

    def _run_again(self) -> None:
        """Make the chosen run again, and meanwhile let the notebook be used."""
        self.again.disabled = True
        self._say("status", "Running: a store is started, killed and started again …")
        threading.Thread(target=self._run, args=(self.scenario.value, self.point.value), daemon=True).start()

    def _run(self, scenario: str, point: str) -> None:
        """An error is shown in the panel, where the learner looks."""
        try:
            plan = replace(
                self._plan,
                workloads=tuple(each for each in self._plan.workloads if each.name == scenario),
                points=(point,) if point else (),
                pairs=any(len(run.points) > 1 for run in self.report.results if run.points[0] == point),
            )
            report = crash_test(plan, self._settings)
            if report.never_met:
                gone = f"the checkout no longer reaches {in_a_line(point)}"
                self._say("alert", f"? Not reached: {gone}. Run the cell of the map again.")
                return
            run = [*report.failures, *report.results, *report.recorded][0]
            self.story.value = (
                '<div class="ws-story" role="region" aria-label="Timeline" tabindex="0">'
                f"{as_html(timeline(run), _LONGEST_STORY)}</div>"
            )
            verdict = f"{LETTERS[run.verdict]} {in_words(run.verdict)}, in {report.seconds:.1f} s"
            self._say("status", ". ".join([verdict, *what_is_wrong(run)]))
        except WidgetStoreError as refusal:
            self._say("alert", f"⚠ The run failed: {refusal}")
        except Exception as failure:  # noqa: BLE001 - an error in a thread would be shown nowhere else
            self._say("alert", f"⚠ Error: {failure_in_words(failure)}")
        finally:
            self.again.disabled = False

    def _say(self, role: str, words: str) -> None:
        self.message.value = as_message(role, words)


def draw(report: Report, chosen: tuple[str, str] = ("", "")) -> str:
    """The map as HTML: what a cell means is in its letter, and in the words that are shown when it is pointed at.

    Args:
        report: The results to show.
        chosen: The scenario and the crash point to mark.
    """
    fails_anyway = {run.scenario: run for run in report.recorded if run.verdict != Verdict.SAFE}
    legend = "".join(
        f'<span><b class="{verdict.value}">{LETTERS[verdict]}</b>{in_words(verdict)}: {meaning}</span>'
        for verdict, meaning in MEANINGS.items()
    )
    rows = []
    for scenario, row in cells(report).items():
        if scenario in fails_anyway:
            across = _failure(fails_anyway[scenario])
        else:
            across = "".join(_step(label, groups, chosen) for label, groups in by_step(row).items())
        rows.append(
            f'<tr><th scope="row">{as_html(scenario)}<small>{how_many_are_safe(row)} safe</small></th>'
            f"<td>{across}</td></tr>"
        )
    return (
        f'<style>{_STYLE}</style><div class="ws-map"><p '
        f'class="legend">{legend}{_HOW_TO_READ}</p><table>{"".join(rows)}</table></div>'
    )


def _failure(run: Result) -> str:
    words = as_html("; ".join(what_is_wrong(run)))
    return f'<span><b class="{run.verdict.value}">{LETTERS[run.verdict]}</b> even without a crash: {words}</span>'


def _step(label: str, groups: list[list[Cell]], chosen: tuple[str, str]) -> str:
    verdicts = [cell.verdict for group in groups for cell in group]
    counts = ", ".join(f"{verdicts.count(each)} {in_words(each)}" for each in LETTERS if each in verdicts)
    shapes = "".join(f"<span>{''.join(_cell(cell, chosen) for cell in group)}</span>" for group in groups)
    return (
        f'<span class="step" role="img" aria-label="{as_html(f"{label}: {counts}")}">'
        f"<small>{as_html(label)}</small><span>{shapes}</span></span>"
    )


def _cell(cell: Cell, chosen: tuple[str, str]) -> str:
    violations = dict.fromkeys(violation for run in cell.runs for violation in what_is_wrong(run))
    killed = f"{in_words(cell.verdict)} when killed {describe(cell.point)}"
    words = "\n".join([in_a_line(cell.point), killed, *violations])
    title = as_html(words).replace("\n", "&#10;")
    mark = " chosen" if (cell.scenario, cell.point) == chosen else ""
    return f'<b class="{cell.verdict.value}{mark}" title="{title}">{LETTERS[cell.verdict]}</b>'
