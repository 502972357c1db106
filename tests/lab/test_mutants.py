"""Broken checkouts: each is caught, at the crash points where it breaks and at no other."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support import ROOT
from widget_store.crashtest.results import Report, Verdict

MUTANTS = ROOT / "tests" / "mutants"
every_mistake = pytest.mark.thorough("tries the crash test on every mistake that it must find")


def by_verdict(report: Report, verdict: Verdict) -> list[str]:
    return [result.point for result in report.results if result.verdict == verdict]


@dataclass(frozen=True)
class Mutant:
    """A broken checkout: where it is caught, and which invariant says so.

    Attributes:
        tried: Patterns of the crash points to try.
        broken: All those of them at which it breaks; None when it breaks without any crash.
    """

    name: str
    scenario: str
    says: str
    tried: tuple[str, ...] = ()
    broken: tuple[str, ...] | None = None


def gap(step: str) -> tuple[str, ...]:
    """The crash points between a plain step's own commit and DBOS's record of it."""
    return f"{step}/effect/after", f"{step}/body/after", f"{step}/checkpoint/before"


CREATE, RESERVE = "checkout_workflow/1.create_order", "checkout_workflow/2.reserve_inventory"
CANCEL = "checkout_workflow/7.cancel_order"
UNDO, TICK = "checkout_workflow/6.undo_reserve_inventory", "dispatch_order_workflow/6.progress"
CAUGHT = [
    Mutant("plain_create", "declined", "settled", ("*/1.*", "*/2.*"), gap(CREATE)),
    Mutant("plain_reserve", "declined", "stock", ("*/1.*", "*/2.*"), gap(RESERVE)),
    Mutant("plain_progress", "paid", "dispatched", ("dispatch_*/6.*", "dispatch_*/7.*"), gap(TICK)),
    Mutant("double_compensation", "declined", "stock", ("*/6.*", "*/7.*"), gap(UNDO)),
    Mutant("missing_return", "sold out", "stock"),
    Mutant(
        "progress_in_two_statements",
        "paid",
        "dispatched",
        ("dispatch_*/20.*",),
        (
            "dispatch_order_workflow/20.progress/effect/after",
            "dispatch_order_workflow/20.progress/effect/before#2",
            "dispatch_order_workflow/20.progress/effect/after#2",
            "dispatch_order_workflow/20.progress/body/after",
            "dispatch_order_workflow/20.progress/checkpoint/before",
        ),
    ),
    Mutant(
        "order_id_from_memory",
        "declined",
        "settled",
        ("*/start*/after", "*/2.*/before", "*/7.cancel_order/effect/before"),
        (
            "checkout_workflow/2.reserve_inventory/effect/before",
            "checkout_workflow/2.reserve_inventory/checkpoint/before",
            "checkout_workflow/7.cancel_order/effect/before",
        ),
    ),
    Mutant("swallowed_late_payment", "payment after the timeout", "answers"),
    Mutant("effect_before_guard", "sold out", "workflows end"),
    Mutant("key_that_names_nothing", "double click", "orders"),
    Mutant(
        "random_outside_a_step",
        "declined",
        "workflows end",
        ("*/1.*/after", "*/3.*/after"),
        (
            "checkout_workflow/3.reserve_inventory/effect/after",
            "checkout_workflow/3.reserve_inventory/checkpoint/after",
        ),
    ),
    Mutant("event_before_its_commit", "paid", "answers"),
    Mutant("dispatch_in_a_thread", "paid", "dispatched"),
]


@every_mistake
@pytest.mark.slow("kills a broken checkout where it breaks, and where it does not", weight=5)
@pytest.mark.parametrize("mutant", CAUGHT, ids=lambda mutant: mutant.name)
def test_a_broken_checkout_is_caught_where_it_breaks_and_nowhere_else(
    crash: Callable[..., Report], mutant: Mutant
) -> None:
    report = crash(mutant.scenario, app=MUTANTS / f"{mutant.name}.py", points=mutant.tried)
    if mutant.broken is None:
        assert [each.verdict for each in report.recorded] == [Verdict.BROKEN]
    else:
        assert [each.verdict for each in report.recorded] == [Verdict.SAFE], report.recorded
        assert set(by_verdict(report, Verdict.BROKEN)) == set(mutant.broken)
        assert len(report.results) > len(mutant.broken), "it was also tried where it does not break"
    for failure in report.failures:
        assert any(violation.startswith(mutant.says) for violation in failure.violations), failure


def test_every_mutant_is_tested() -> None:
    assert {mutant.name for mutant in CAUGHT} | {"plain_steps"} == {file.stem for file in MUTANTS.glob("*.py")}


@every_mistake
@pytest.mark.slow("kills a store at every crash point of a checkout", weight=20)
def test_plain_steps_break_in_each_gap_between_commit_and_checkpoint_and_nowhere_else(
    crash: Callable[..., Report],
) -> None:
    report = crash("declined", app=MUTANTS / "plain_steps.py")
    gaps = {point for step in (CREATE, RESERVE, UNDO) for point in gap(step)}
    assert set(by_verdict(report, Verdict.BROKEN)) == gaps
    assert set(by_verdict(report, Verdict.SAFE)) == set(report.recorded[0].reached) - gaps
