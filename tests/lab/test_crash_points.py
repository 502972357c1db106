"""The store's own checkout, killed at its crash points: all of the two main scenarios, a sample of the others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.notebooks import written_in
from widget_store.crashtest.results import Report
from widget_store.lab.scenarios import SCENARIOS
from widget_store.schema import DISPATCH_STEPS

SAMPLE = ["*/start */after", "*/2.*/effect/after", "http/send*/after", "*/end/status/before", "http/restock*"]

longer = pytest.mark.thorough("more crash points")


@pytest.mark.slow("kills a store at every crash point of a checkout", weight=50)
@pytest.mark.parametrize(
    ("scenario", "at_least", "backend"),
    [
        ("declined", 30, "postgresql"),
        ("declined", 30, "sqlite"),
        pytest.param("paid", 90, "postgresql", marks=longer),
        pytest.param("paid", 90, "sqlite", marks=longer),
    ],
)
def test_the_store_survives_every_crash_point(
    crash: Callable[..., Report], backend: str, scenario: str, at_least: int
) -> None:
    report = crash(scenario, backend=backend)
    assert report.failures == []
    assert len(report.results) >= at_least
    assert [result.point for result in report.results] == report.recorded[0].reached
    assert report.never_met == []
    last = [point for point in report.recorded[0].reached if "/end/status/" in point]
    assert {point.rpartition("/")[2] for point in last} == {"before", "after"}, "also what comes after the last commit"


@longer
@pytest.mark.slow("kills a store at some crash points of each scenario", weight=20)
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
def test_the_store_survives_a_sample_of_the_other_scenarios(crash: Callable[..., Report], backend: str) -> None:
    others = [name for name in SCENARIOS if name not in {"paid", "declined"}]
    report = crash(*others, backend=backend, points=tuple(SAMPLE))
    assert report.failures == []
    assert {result.scenario for result in report.results} >= set(others) - {"crash during dispatch"}


@longer
@pytest.mark.slow("kills a store at every crash point of a dispatch", weight=30)
def test_the_cheaper_dispatch_of_lesson_09_survives_every_crash_point(
    crash: Callable[..., Report], tmp_path: Path
) -> None:
    app = tmp_path / "cheaper_dispatch.py"
    app.write_text(written_in("12", "work/cheaper_dispatch.py"), encoding="utf-8")
    report = crash("paid", backend="sqlite", app=app, points=("dispatch_order_workflow/*",))
    assert report.failures == []
    assert report.never_met == []
    steps = {result.point.split("/")[1] for result in report.results}
    assert steps == {*(f"{number}.set_order_progress" for number in range(1, DISPATCH_STEPS + 1)), "end"}


@pytest.mark.thorough("pairs of crash points")
@pytest.mark.slow("kills a store twice", weight=10)
def test_the_store_survives_a_crash_of_its_recovery(crash: Callable[..., Report]) -> None:
    report = crash("sold out", points=("*/1.create_order/effect/before", "*/3.*/checkpoint/before"), pairs=True)
    assert report.failures == []
    pairs = [result.points for result in report.results if len(result.points) == 2]
    assert len(pairs) >= 8
    assert any(second.startswith("recovery/requeue") for _first, second in pairs)
