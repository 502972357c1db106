"""The crash lab: what was predicted beside what was so."""

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

import ipywidgets as widgets
import pandas as pd
import pytest

from tests.support import eventually
from widget_store.databases import Database
from widget_store.lab import CrashLab, crash_lab
from widget_store.lab.checkout_points import checkout_points
from widget_store.lab.crash_lab import NO_ORDER, NO_PREDICTION, NO_STEP, Experiment, draw, first_step, in_a_line
from widget_store.lab.crash_test import single_runs
from widget_store.lab.experiment import Crash, Look, PointNotMet
from widget_store.lab.scenarios import SCENARIOS

RESERVED = "checkout_workflow/2.reserve_inventory/effect/after"
ONE_LIFE = ("http/start checkout_workflow/status/after", "checkout_workflow/1.create_order/effect/before")
STORY = "declined: here\n\nprocess 1\n    commits <a>\n  X killed\n\nprocess 2, which recovers\n    goes on\n\n· safe"


def a_look(status: str | None, shelf: int) -> Look:
    orders = pd.DataFrame({"status": [status]} if status else {"status": []}, index=[1] if status else [])
    return Look(orders, pd.DataFrame(), pd.DataFrame(), pd.Series({"on the shelf": shelf}), {})


A_CRASH = Crash(
    (RESERVED,),
    [a_look("PENDING", 99)],
    a_look("CANCELLED", 100),
    [],
    STORY,
    (ONE_LIFE, ("recovery/requeue checkout_workflow/status/after", "checkout_workflow/5.sleep/checkpoint/after")),
)
PREDICTED = Experiment(order="PENDING", shelf=100, crash=A_CRASH)


# --- the model


def test_the_order_is_found_whatever_its_number() -> None:
    orders = pd.DataFrame({"status": ["CANCELLED"]}, index=[2])  # number 1 went with the commit that was never made
    look = replace(a_look("CANCELLED", 100), orders=orders)
    (order, *_) = replace(PREDICTED, crash=replace(A_CRASH, recovered=look)).rows()
    assert order.end == "CANCELLED"


def test_a_prediction_is_compared_with_what_the_crash_left() -> None:
    order, shelf, step = PREDICTED.rows()
    assert (order.said, order.left, order.end, order.verdict) == ("PENDING", ("PENDING",), "CANCELLED", "✔ as you said")
    assert (shelf.said, shelf.left, shelf.end, shelf.verdict) == ("100", ("99",), "100", "✘ not as you said")
    assert (step.said, step.left, step.verdict) == (NO_PREDICTION, (NO_STEP,), NO_PREDICTION)


def test_of_two_crashes_both_are_shown_and_the_last_one_counts() -> None:
    twice = replace(A_CRASH, left=[a_look(None, 100), a_look("PENDING", 99)], lives=(ONE_LIFE, ONE_LIFE, ()))
    order, _, step = replace(PREDICTED, crash=twice, next_step=NO_STEP).rows()
    assert (order.left, order.verdict) == ((NO_ORDER, "PENDING"), "✔ as you said")
    assert (step.left, step.verdict) == (("create_order", NO_STEP), "✔ as you said")


def test_before_it_was_played_there_is_nothing_to_compare() -> None:
    assert Experiment(order="PENDING").rows() == []
    assert draw(Experiment()) == ""


@pytest.mark.parametrize(
    ("commit", "name"),
    [
        ("2.reserve_inventory/effect/before", "reserve_inventory"),
        ("2.reserve_inventory/checkpoint/after", NO_STEP),  # its work was there already: it did not run
        ("3.set_event payment_id/checkpoint/before", "set_event payment_id"),
        ("5.sleep/checkpoint/before", NO_STEP),  # the timer of a wait
        ("end/status/before", NO_STEP),
    ],
)
def test_a_step_runs_when_its_own_work_is_committed(commit: str, name: str) -> None:
    assert first_step(("recovery/dequeue checkout_workflow/status/after", f"checkout_workflow/{commit}")) == name
    assert first_step((f"dispatch_order_workflow/{commit}",)) == NO_STEP


def test_a_step_is_called_as_in_the_crash_points() -> None:
    waits = replace(A_CRASH, lives=(ONE_LIFE, ("checkout_workflow/4.recv/checkpoint/after",)))
    *_, step = replace(PREDICTED, crash=waits, next_step="recv").rows()
    assert (step.said, step.left) == ("recv", ("recv",))
    assert step.verdict == "✔ as you said"


def test_a_story_offers_only_what_it_comes_by() -> None:
    declined = Experiment(story="declined")
    assert "undo_reserve_inventory" in declined.steps()
    assert not any("mark_order_paid" in point for point in declined.points())
    assert declined.points().items() <= checkout_points().items()
    assert declined.point in declined.points()


def test_what_came_of_it_is_told_in_a_line() -> None:
    assert in_a_line(PREDICTED) == "1 of 2 predictions were right. Every invariant holds in the end."
    one = replace(PREDICTED, shelf=None)
    assert in_a_line(one).startswith("1 of 1 prediction was right.")
    nothing = replace(PREDICTED, order=None, shelf=None, next_step=None)
    assert in_a_line(nothing) == "You predicted nothing. Every invariant holds in the end."


def test_the_outcome_is_a_table_with_names_and_a_timeline_for_each_process() -> None:
    html = draw(PREDICTED)
    said = "100<small>✘ not as you said</small>"
    assert f'<th scope="row">widgets on the shelf</th><td>{said}</td><td>99</td><td>100</td>' in html
    assert 'role="region" aria-label="process 1" tabindex="0"' in html
    assert 'aria-label="process 2, which recovers"' in html
    assert "commits &lt;a&gt;" in html


# --- the view


def test_every_control_has_a_name_and_the_repr_is_always_the_same() -> None:
    lab = CrashLab()
    controls = [one for one in _all(lab) if isinstance(one, (widgets.Button, widgets.Dropdown, widgets.Text))]
    assert len(controls) == 8
    assert all(control.description for control in controls)
    assert lab.crash.description == "Crash here"
    assert 'role="status"' in lab.message.value
    assert repr(lab) == "CrashLab: a scenario, a crash point, your prediction, and Crash here"


def test_what_is_chosen_is_in_the_model_and_a_new_story_keeps_what_it_can() -> None:
    lab = CrashLab()
    lab.order.value, lab.shelf.value = "PENDING", "98"
    lab.next_step.value = "undo_reserve_inventory"
    lab.again.value = "checkout_workflow/*.undo_reserve_inventory/effect/after"
    chosen = Experiment(order="PENDING", shelf=98, next_step="undo_reserve_inventory", again=lab.again.value)
    assert lab.experiment == chosen
    lab.story.value = "sold out"
    assert lab.experiment == replace(chosen, story="sold out", next_step=None, again=None)
    assert lab.point.value == chosen.point
    assert lab.again.value == ""
    lab.shelf.value = "many"
    assert lab.experiment.shelf is None, "what is no number is no prediction"


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (PointNotMet("No process reached <this>."), "The run failed: No process reached &lt;this&gt;."),
        (ZeroDivisionError("a fault of ours"), "ZeroDivisionError: a fault of ours"),
    ],
)
def test_an_error_is_shown_where_the_learner_looks(
    failure: Exception, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_points: str, **_story: str) -> Crash:
        raise failure

    monkeypatch.setattr(crash_lab, "crash_at", fail)
    lab = CrashLab()
    lab.crash.click()
    eventually(lambda: shown in lab.message.value, "the error in the panel")
    assert 'role="alert"' in lab.message.value
    eventually(lambda: not lab.crash.disabled, "the button, to be pressed again")


def _all(widget: widgets.Widget) -> list[widgets.Widget]:
    return [widget, *(one for child in getattr(widget, "children", ()) for one in _all(child))]


@pytest.mark.slow("a store is started, killed and started again")
def test_pressing_the_button_shows_prediction_facts_and_timelines(
    new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database("sqlite").url)
    lab = CrashLab()
    lab.order.value, lab.shelf.value, lab.next_step.value = "PENDING", "99", "reserve_inventory"
    lab.crash.click()
    assert lab.crash.disabled
    eventually(lambda: not lab.crash.disabled, "the end of the crash")
    assert "2 of 3 predictions were right. Every invariant holds" in lab.message.value
    assert f"Killed at {RESERVED}" in lab.outcome.value.replace("<wbr>", "")
    said = "reserve_inventory<small>✘ not as you said</small>"
    assert f"<td>{said}</td><td>set_event payment_id</td>" in lab.outcome.value, "it is not run again"
    assert "killed right after the commit of the work of reserve_inventory" in lab.outcome.value


@pytest.mark.slow("plays the stories of the panel")
@pytest.mark.parametrize("story", ["paid", "declined", "sold out"])
def test_a_story_comes_by_every_point_that_is_offered(
    story: str, new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database("sqlite").url)
    with single_runs() as runs:
        reached = runs.play(SCENARIOS[story]).reached
    offered = Experiment(story=story).points()
    assert [point for point in offered if not any(fnmatchcase(each, point) for each in reached)] == []
