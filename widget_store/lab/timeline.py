"""The timeline of orders as a picture: one row a step, the crashes across them, in the notebook's colours."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from widget_store.lab.state import State, Step, order_created_by
from widget_store.lab.store import Death
from widget_store.plain_text import as_html
from widget_store.schema import DISPATCH_STEPS
from widget_store.words import duration
from widget_store.workflows import dispatch_order_workflow

_WIDTH, _LABELS, _ROW, _TOP = 900, 190, 20, 64
_LABEL_WIDTH = 135
_WAIT = "recv"
_LONGEST_NAME = 27  # characters that fit beside the rows
_PROGRESS = {"update_order_progress", "set_order_progress"}  # the store's step, and that of the variant in lesson 12
_SECONDS_SHOWN_AT_LEAST = 3.0
_STYLE = """
.ws-timeline { min-width: 680px; max-width: 900px; width: 100%; color: var(--jp-ui-font-color1, #212121); font: 13px
system-ui, sans-serif; } .ws-timeline text { fill: currentColor; paint-order: stroke; stroke-width: 7px;
stroke: var(--jp-layout-color0, #fff); stroke-linejoin: round; }
.ws-timeline .axis { stroke: currentColor; stroke-opacity: .25; }
.ws-timeline .step { fill: var(--jp-brand-color1, #1668a8); }
.ws-timeline .wait { fill: none; stroke: var(--jp-brand-color1, #1668a8); stroke-width: 1.5; stroke-dasharray: 4 3; }
.ws-timeline .again { fill: var(--jp-warn-color1, #b25000); stroke: currentColor; stroke-width: 1.5; }
.ws-timeline .wait.again { fill: none; stroke: var(--jp-warn-color1, #b25000); }
.ws-timeline .away { fill: url(#ws-hatch); stroke: var(--jp-error-color1, #c62828); }
.ws-timeline .hatch { stroke: var(--jp-error-color1, #c62828); stroke-width: 2; stroke-opacity: .35; }
.ws-timeline .crash { fill: var(--jp-error-color1, #c62828); font-weight: 600; }
.ws-timeline.keys { display: flex; flex-wrap: wrap; gap: 2px 18px; min-width: 0; margin: 4px 0; }
.ws-timeline.keys svg { vertical-align: -2px; }
@media (forced-colors: active) {
.ws-timeline { color: CanvasText; }
.ws-timeline text, .ws-timeline .crash { fill: CanvasText; stroke: none; }
.ws-timeline .step { fill: CanvasText; } .ws-timeline .wait, .ws-timeline .away { stroke: CanvasText; }
.ws-timeline .again { fill: Canvas; } .ws-timeline .hatch { stroke: GrayText; } }
"""


_KEYS = {
    "step": "a step with a checkpoint",
    "wait": "waited for a message (recv)",
    "again": "↻ the checkpoint was written after a recovery",
    "away": "✖ no process: it was killed",
}
"""Each shape by its class, and what it means."""
_DISPATCH = "dispatch: its progress steps (update_order_progress), in a workflow of their own"


@dataclass(frozen=True)
class OrderStory:
    """One order's steps: those of its checkout and of its dispatch.

    Attributes:
        title: What to call it: "Order 3: DISPATCHED".
        checkout: The checkout's steps, in order.
        dispatch: The dispatch's progress updates, in order.
        ended: Whether nothing more will happen to it.
    """

    title: str
    checkout: list[Step]
    dispatch: list[Step]
    ended: bool


def stories(state: State, limit: int = 2) -> list[OrderStory]:
    """The stories of the newest orders, newest first."""
    workflows = state.all_workflows(limit=2 * limit + 20)
    checkouts = [workflow for workflow in workflows if workflow.name != dispatch_order_workflow.__name__][-limit:]
    statuses = state.orders()["status"].to_dict()
    found = []
    for checkout in reversed(checkouts):
        steps = state.steps_of(checkout.workflow_id)
        children = [one for one in workflows if one.parent_workflow_id == checkout.workflow_id]
        dispatch = [step for child in children for step in state.steps_of(child.workflow_id) if step.name in _PROGRESS]
        order_id = order_created_by(steps)
        title = "New order: not created yet"
        if order_id is not None:
            title = f"Order {order_id}: {statuses.get(order_id, 'not in the table of orders')}"
        elif any(step.name == "create_order" for step in steps):
            title = "New order: create_order has returned no order id"
        running = any(one.status in {"PENDING", "ENQUEUED"} for one in [checkout, *children])
        found.append(OrderStory(title, steps, dispatch, ended=not running))
    return found


def legend() -> str:
    """What the shapes and marks of the pictures mean, as HTML."""
    keys = "".join(
        f'<span><svg width="26" height="14" aria-hidden="true"><rect class="{shape}" x="2" y="2" width="22" height="10"'
        f' rx="3"/></svg> {words}</span>'
        for shape, words in _KEYS.items()
    )
    return f'<style>{_STYLE}</style><p class="ws-timeline keys">{keys}<span>{_DISPATCH}</span></p>'


def draw(story: OrderStory, deaths: Sequence[Death], now: float | None = None) -> str:
    """A story as an SVG picture, with a text alternative that says the same in a sentence.

    Args:
        story: The order to draw.
        deaths: The deaths of the serving process; those outside the story's time are left out.
        now: Seconds since 1970; the time of the clock by default.
    """
    every_step = [*story.checkout, *story.dispatch]
    if not every_step:
        return f"<p>{as_html(story.title)}: no step has a checkpoint yet.</p>"
    start = min(step.started_at for step in every_step)
    now = time.time() if now is None else now
    end = max(step.ended_at for step in every_step) if story.ended else now
    during = [death for death in deaths if start <= death.died_at <= end]
    end = max([end, start + _SECONDS_SHOWN_AT_LEAST, *(death.back_at or end for death in during)])
    picture = _Picture(start, end, now, [death.back_at for death in during if death.back_at is not None])
    rows = [(_shortened(step.name), [step]) for step in story.checkout]
    if story.dispatch:
        rows.append((f"dispatch, {len(story.dispatch)} of {DISPATCH_STEPS}", story.dispatch))
    return picture.render(story.title, rows, during)


class _Picture:
    """Seconds and steps on one side, pixels and shapes on the other."""

    def __init__(self, start: float, end: float, now: float, recoveries: list[float]) -> None:
        self._start = start
        self._now = min(now, end)
        self._scale = (_WIDTH - _LABELS - 70) / (end - start)
        self._seconds = end - start
        self._recoveries = recoveries

    def render(self, title: str, rows: list[tuple[str, list[Step]]], deaths: Sequence[Death]) -> str:
        height = _TOP + _ROW * len(rows) + 8
        body = [
            *self._axis(height),
            *self._away(deaths, height),
            *(shape for place, (name, steps) in enumerate(rows) for shape in self._row(place, name, steps)),
        ]
        told = [f"{name} (after recovery)" if self._ran_again(steps[-1]) else name for name, steps in rows]
        sentence = _sentence(title, told, deaths)
        return (
            f'<svg class="ws-timeline" viewBox="0 0 {_WIDTH} {height}" role="img"'
            f' aria-label="{as_html(sentence)}">'
            f"<style>{_STYLE}</style>{_HATCH}"
            f'<text x="0" y="15" font-weight="600" font-size="15">{as_html(title)}</text>{"".join(body)}</svg>'
        )

    def _ran_again(self, step: Step) -> bool:
        """Whether a step ended after a crash: in a process that had recovered its workflow."""
        return any(step.ended_at >= back_at for back_at in self._recoveries)

    def _x(self, moment: float) -> float:
        return round(_LABELS + (moment - self._start) * self._scale, 1)

    def _width(self, step: Step) -> float:
        """A step that was too short to be seen is a little longer; of a wait, the dashes are to be seen, too."""
        least = 10.0 if step.name == _WAIT else 6.0
        return round(max(least, (step.ended_at - step.started_at) * self._scale), 1)

    def _axis(self, height: float) -> list[str]:
        steps = (1, 2, 5, 10, 30, 60, 600)
        every = next((step for step in steps if self._seconds / step <= 15), ceil(self._seconds / 15))
        shapes = []
        for second in range(0, int(self._seconds) + 1, every):
            x = self._x(self._start + second)
            shapes.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{_TOP - 8}" y2="{height}"/>')
            shapes.append(f'<text x="{x}" y="{_TOP - 12}" font-size="11" text-anchor="middle">{second} s</text>')
        return shapes

    def _row(self, place: int, name: str, steps: list[Step]) -> list[str]:
        middle = _TOP + _ROW * place + _ROW / 2
        shapes = [f'<text x="{_LABELS - 10}" y="{middle + 4}" text-anchor="end">{as_html(name)}</text>']
        for step in steps:
            kinds = ["wait"] if step.name == _WAIT else []
            kinds += ["again"] if self._ran_again(step) else [] if kinds else ["step"]
            left, width = self._x(step.started_at), self._width(step)
            shapes.append(
                f'<rect class="{" ".join(kinds)}" x="{left}" y="{middle - 6}" width="{width}" height="12" rx="3"/>'
            )
        last = steps[-1]
        note = duration(last.ended_at - last.started_at) if len(steps) == 1 else ""
        if self._ran_again(last):
            note += " ↻ after recovery"
        x = self._x(last.started_at) + self._width(last) + 6
        anchor = "start"
        if x > _WIDTH - 150:
            x, anchor = self._x(steps[0].started_at) - 6, "end"
        if x - 120 > _LABELS or anchor == "start":
            shapes.append(f'<text x="{x}" y="{middle + 4}" font-size="11" text-anchor="{anchor}">{note}</text>')
        return shapes

    def _away(self, deaths: Sequence[Death], height: float) -> list[str]:
        """A hatched band for each time the process was dead, until now at most, with a label where there is room."""
        shapes = []
        next_ones = [*(self._x(death.died_at) for death in deaths), float("inf")][1:]
        for death, next_left in zip(deaths, next_ones, strict=True):
            left, right = self._x(death.died_at), self._x(self._now if death.back_at is None else death.back_at)
            label = "✖ crash"
            if death.back_at is not None:
                label += f", dead for {duration(death.back_at - death.died_at)}"
            shapes.append(
                f'<rect class="away" x="{left}" y="{_TOP - 8}" width="{max(3.0, right - left):.1f}"'
                f' height="{height - _TOP + 8}"/>'
                f'<text class="crash" x="{left}" y="{_TOP - 28}" font-size="12">'
                f"{label if next_left - left >= _LABEL_WIDTH else '✖'}</text>"
            )
        return shapes


_HATCH = (
    '<defs><pattern id="ws-hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line class="hatch" x1="0" y1="0" x2="0" y2="7"/></pattern></defs>'
)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _sentence(title: str, rows: Sequence[str], deaths: Sequence[Death]) -> str:
    steps = ", ".join(rows)
    crashes = {0: "no crash", 1: "one crash"}.get(len(deaths), f"{len(deaths)} crashes")
    return f"Timeline. {title}. Steps: {steps}. {crashes.capitalize()} on the way."
