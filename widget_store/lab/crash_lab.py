"""A crash that is thought through first: choose where to kill, predict what is left, kill, and compare.

`Experiment` is the model: what is to be played, what the learner predicts, and how that compares with the database.
`CrashLab` is its view, which alone knows widgets.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import ipywidgets as widgets

from widget_store.errors import WidgetStoreError
from widget_store.lab.checkout_points import STEPS, checkout_points
from widget_store.lab.experiment import Crash, Look, crash_at
from widget_store.lab.panel import Panel, as_message, button, in_a_row, refresh_button
from widget_store.plain_text import as_html, failure_in_words
from widget_store.schema import FULL_SHELF, OrderStatus
from widget_store.words import counted

_LONGEST_STORY = 50_000
NO_ORDER, NO_STEP, NO_PREDICTION = "no order", "none", "no prediction"
_NEVER_IN = {  # each scenario, and the steps that it does not reach
    "paid": {"undo_reserve_inventory", "cancel_order"},
    "declined": {"mark_order_paid", "dispatch_order_workflow", "sleep", "update_order_progress"},
    "sold out": {
        *("recv", "mark_order_paid", "dispatch_order_workflow", "sleep", "update_order_progress"),
        "undo_reserve_inventory",
    },
}
_MINE = "checkout_workflow/"
_STYLE = """
.ws-crash-lab { color: var(--jp-ui-font-color1, #212121); font: 13px system-ui, sans-serif; line-height: 1.4; }
.ws-crash-lab table { font: inherit; border-collapse: collapse; margin: 4px 0 10px; }
.ws-crash-lab .scrolls { overflow-x: auto; width: 0; min-width: 100%; }
.ws-crash-lab caption { text-align: left; font-weight: 600; padding: 0 0 4px; }
.ws-crash-lab th, .ws-crash-lab td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0;
border-top: 1px solid color-mix(in srgb, currentColor 30%, transparent); }
.ws-crash-lab td small { display: block; font-size: 12px; white-space: nowrap; }
.ws-crash-lab .timelines { display: flex; flex-wrap: wrap; gap: 8px 24px; margin-top: 8px; }
.ws-crash-lab pre { box-sizing: border-box; flex: 1 1 400px; max-height: 420px; overflow: auto; margin: 0;
padding: 8px 12px; white-space: pre-wrap; word-break: normal; overflow-wrap: normal;
border-left: 3px solid currentColor;
color: inherit; background: none; font: 12px/1.5 ui-monospace, monospace; }
"""


@dataclass(frozen=True)
class Row:
    """One question to the database, as the table shows it.

    Attributes:
        question: What is asked.
        said: The learner's prediction, in words.
        left: What was so right after each crash.
        end: What was so in the end.
        verdict: Whether the prediction met what was left by the last crash, in words.
    """

    question: str
    said: str
    left: tuple[str, ...]
    end: str
    verdict: str


@dataclass
class Experiment:
    """What is to be played and predicted, and, once it was played, what came of it.

    Attributes:
        story: The name of a scenario.
        point: The crash point at which the store is killed, a pattern of `checkout_points`.
        again: One at which its recovery is killed too; None to let it be.
        order: The prediction of the order's status right after the last crash; None for no prediction.
        shelf: That of the number of widgets on the shelf.
        next_step: That of the first step of the checkout that runs after it.
        crash: What came of it, once it was played.
    """

    story: str = "declined"
    point: str = "checkout_workflow/*.reserve_inventory/effect/after"
    again: str | None = None
    order: str | None = None
    shelf: int | None = None
    next_step: str | None = None
    crash: Crash | None = None

    def points(self) -> dict[str, str]:
        """The crash points worth choosing in this scenario, and what each is in words."""
        never = _NEVER_IN[self.story]
        return {point: words for point, words in checkout_points().items() if _step_of(point) not in never}

    def steps(self) -> list[str]:
        """The steps of the checkout in this scenario."""
        never = _NEVER_IN[self.story]
        return [_step_of(step) for step in STEPS if step.startswith(_MINE) and _step_of(step) not in never]

    def play(self) -> None:
        """Play the scenario on a database of its own, and keep the result.

        Raises:
            WidgetStoreError: When it can't be played; `crash` is None then.
        """
        self.crash = None
        points = [self.point] if self.again is None else [self.point, self.again]
        self.crash = crash_at(*points, story=self.story)

    def rows(self) -> list[Row]:
        """The predictions beside the facts; none as long as nothing was played."""
        if self.crash is None:
            return []
        return [
            _row("the order", self.order, self.crash, order_in),
            _row("widgets on the shelf", None if self.shelf is None else str(self.shelf), self.crash, shelf_in),
            _steps_row(self.next_step, self.crash),
        ]


def order_in(look: Look) -> str:
    """The status of the order: in each of these scenarios there is one at most, whatever its number."""
    return str(look.orders["status"].iloc[0]) if len(look.orders) else NO_ORDER


def shelf_in(look: Look) -> str:
    """How many widgets are on the shelf."""
    return str(look.books["on the shelf"])


def first_step(life: tuple[str, ...]) -> str:
    """The first step of the checkout that a process has run, and not only found recorded.

    A transaction runs when its own work is committed. Of another step, DBOS's record is all that is committed.
    """
    for point in life:
        workflow_and_step, phase, _side = point.rsplit("/", 2)
        name = _step_of(workflow_and_step)
        is_transaction = STEPS.get(f"{_MINE}*.{name}")
        if point.startswith(_MINE) and is_transaction is not None and phase == _phase_of_its_work(is_transaction):
            return name
    return NO_STEP


def _phase_of_its_work(is_transaction: bool) -> str:
    return "effect" if is_transaction else "checkpoint"


def _step_of(point: str) -> str:
    """The name of the step in a crash point, without its number."""
    return point.split("/")[1].partition(".")[2]


def _row(question: str, said: str | None, crash: Crash, ask: Callable[[Look], str]) -> Row:
    left = tuple(map(ask, crash.left))
    return Row(question, _in_words(said), left, ask(crash.recovered), _verdict(said, left[-1]))


def _steps_row(said: str | None, crash: Crash) -> Row:
    after = tuple(map(first_step, crash.lives[1:]))
    return Row("the first step to run after it", _in_words(said), after, "", _verdict(said, after[-1]))


def _in_words(said: str | None) -> str:
    return NO_PREDICTION if said is None else said


def _verdict(said: str | None, seen: str) -> str:
    if said is None:
        return NO_PREDICTION
    return "✔ as you said" if said == seen else "✘ not as you said"


# --- the view


class CrashLab(Panel):
    """A panel for one crash: choose a scenario and a crash point, predict what is left, crash, and compare."""

    def __init__(self) -> None:
        self.experiment = Experiment()
        self.story = _dropdown("Scenario", [(name, name) for name in _NEVER_IN])
        self.point = _dropdown("Kill it", [], "520px")
        self.again = _dropdown("And then", [], "520px")
        statuses = [(status.name, status.name) for status in OrderStatus]
        self.order = _dropdown("Order", [("choose …", _NOTHING), (NO_ORDER, NO_ORDER), *statuses])
        self.shelf = widgets.Text(description="On the shelf", placeholder=f"0 to {FULL_SHELF}", style=_WIDE)
        self.next_step = _dropdown("Runs first", [])
        play = "Play the scenario, kill the store at this point, and let it recover"
        self.crash = button("Crash here", "bolt", "danger", play)
        refresh = refresh_button()
        self.message = widgets.HTML('<p role="status">Choose your predictions. Then press “Crash here”.</p>')
        self.outcome = widgets.HTML(layout=widgets.Layout(width="100%"))
        self.story.value = self.experiment.story
        self._offer()
        self.story.observe(lambda change: self._choose_story(change["new"]), "value")
        self.shelf.observe(lambda change: setattr(self.experiment, "shelf", _number(change["new"])), "value")
        for name in ("point", "again", "order", "next_step"):
            getattr(self, name).observe(
                lambda change, name=name: setattr(self.experiment, name, _chosen(change["new"])), "value"
            )
        self.crash.on_click(lambda _button: self._start())
        refresh.on_click(lambda _button: self.show_again())
        super().__init__(
            [
                in_a_row(self.story, self.point, self.again),
                widgets.HTML("<p>Your prediction, for the moment right after the (last) crash:</p>"),
                in_a_row(self.order, self.shelf, self.next_step),
                in_a_row(self.crash, refresh),
                self.message,
                self.outcome,
            ]
        )

    def __repr__(self) -> str:
        return "CrashLab: a scenario, a crash point, your prediction, and Crash here"

    def _choose_story(self, story: str) -> None:
        self.experiment.story = story
        self._offer()

    def _offer(self) -> None:
        """Offer what there is to choose in the scenario, and keep what was chosen if it is there."""
        experiment = self.experiment
        points = [(words, point) for point, words in experiment.points().items()]
        steps = [("choose …", _NOTHING), *((step, step) for step in experiment.steps()), (NO_STEP, NO_STEP)]
        _options(self.point, points, experiment.point)
        _options(self.again, [("let it recover", _NOTHING), *points], experiment.again)
        _options(self.next_step, steps, experiment.next_step)
        for name in ("point", "again", "next_step"):
            setattr(experiment, name, _chosen(getattr(self, name).value))

    def _start(self) -> None:
        """Play it, and meanwhile let the notebook be used."""
        self.crash.disabled = True
        self._say("status", "Running: a store is started, killed and started again …")
        self.outcome.value = ""
        as_predicted = replace(self.experiment)  # whatever is chosen while it is played
        threading.Thread(target=self._play, args=(as_predicted,), name="plays a crash", daemon=True).start()

    def _play(self, experiment: Experiment) -> None:
        """An error is shown in the panel, where the learner looks."""
        try:
            experiment.play()
            self.outcome.value = draw(experiment)
            self._say("status", in_a_line(experiment))
        except WidgetStoreError as refusal:
            why, _, _names_of_crash_points = str(refusal).partition("\n")
            self._say("alert", f"⚠ The run failed: {why}")
        except Exception as failure:  # noqa: BLE001 - an error in a thread would be shown nowhere else
            self._say("alert", f"⚠ Error: {failure_in_words(failure)}")
        finally:
            self.crash.disabled = False

    def _say(self, role: str, words: str) -> None:
        self.message.value = as_message(role, words)


def in_a_line(experiment: Experiment) -> str:
    """What came of an experiment, for one who hears it."""
    verdicts = [row.verdict for row in experiment.rows()]
    predicted = [verdict for verdict in verdicts if verdict != NO_PREDICTION]
    met = sum(verdict.startswith("✔") for verdict in predicted)
    violations = experiment.crash.violations if experiment.crash else []
    invariants = f"In the end: {'; '.join(violations)}" if violations else "Every invariant holds in the end"
    right = "was right" if len(predicted) == 1 else "were right"
    compared = f"{met} of {counted(len(predicted), 'prediction')} {right}" if predicted else "You predicted nothing"
    return f"{compared}. {invariants}."


def draw(experiment: Experiment) -> str:
    """The predictions, the facts and the timelines as HTML. A crash point's long name may break at its slashes."""
    crash = experiment.crash
    if crash is None:
        return ""
    times = len(crash.left)
    after = ["right after the crash"] if times == 1 else [f"after crash {number}" for number in range(1, times + 1)]
    heads = "".join(f'<th scope="col">{head}</th>' for head in ["", "you said", *after, "in the end"])
    rows = "".join(_drawn(row) for row in experiment.rows())
    lives = "".join(
        f'<pre role="region" aria-label="{as_html(part.splitlines()[0])}" tabindex="0">'
        f"{as_html(part, _LONGEST_STORY)}</pre>"
        for part in _processes(crash.story)
    )
    return (
        f'<style>{_STYLE}</style><div class="ws-crash-lab">'
        '<div class="scrolls" role="region" aria-label="Predictions" tabindex="0"><table>'
        f"<caption>Killed at {as_html(', and then at '.join(crash.points)).replace('/', '/<wbr>')}</caption>"
        f'<tr>{heads}</tr>{rows}</table></div><div class="timelines">{lives}</div></div>'
    )


def _drawn(row: Row) -> str:
    cells = "".join(f"<td>{as_html(text)}</td>" for text in [*row.left, row.end])
    said = as_html(row.said)
    if row.verdict != NO_PREDICTION:
        said += f"<small>{as_html(row.verdict)}</small>"
    return f'<tr><th scope="row">{as_html(row.question)}</th><td>{said}</td>{cells}</tr>'


def _processes(story: str) -> Iterator[str]:
    """The timeline, a part for each process."""
    for part in story.split("\n\n"):
        if part.startswith("process "):
            yield part


_NOTHING = ""  # chosen in a dropdown: of None, it would show an empty field
_WIDE = {"description_width": "90px"}


def _dropdown(label: str, options: Sequence[tuple[str, str]], width: str = "300px") -> widgets.Dropdown:
    layout = widgets.Layout(width=width, max_width="calc(100% - 4px)")
    return widgets.Dropdown(options=options, description=label, layout=layout, style=_WIDE)


def _chosen(value: str) -> str | None:
    return None if value == _NOTHING else value


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _options(dropdown: widgets.Dropdown, options: Sequence[tuple[str, str]], wanted: str | None) -> None:
    """Give a dropdown new options, and choose what is wanted, or else the first."""
    dropdown.options = options
    values = [value for _, value in options]
    dropdown.value = wanted if wanted in values else values[0]
