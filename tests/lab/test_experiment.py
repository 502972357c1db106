"""One crash, looked at closely: what is left at the death is there before recovery, and not after it."""

from collections.abc import Callable

import pytest

from widget_store.databases import Database
from widget_store.lab.experiment import PointNotMet, crash_at

pytestmark = pytest.mark.slow("starts stores and kills them")


@pytest.fixture(autouse=True, params=["postgresql", "sqlite"])
def _on_each_database(
    request: pytest.FixtureRequest, new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database(request.param).url)


def test_what_a_crash_left_is_seen_before_recovery_and_after_it() -> None:
    crash = crash_at("*/*.reserve_inventory/effect/after", story="declined")
    assert crash.points == ("checkout_workflow/2.reserve_inventory/effect/after",)
    (left,) = crash.left
    assert list(left.orders["status"]) == ["PENDING"]
    assert list(left.checkpoints["what"]) == ["create_order"]
    assert left.books["on the shelf"] == 99
    assert list(left.workflows["status"]) == ["PENDING"]
    assert list(crash.recovered.orders["status"]) == ["CANCELLED"]
    assert crash.recovered.books["on the shelf"] == 100
    assert crash.violations == []
    assert repr(crash).endswith("every invariant holds")
    assert "X killed right after the commit of the work of reserve_inventory" in crash.story


def test_the_recovery_can_be_killed_too() -> None:
    crash = crash_at("*/1.create_order/effect/after", "*/2.reserve_inventory/effect/before", story="sold out")
    assert len(crash.left) == 2
    assert [list(left.checkpoints.index) for left in crash.left] == [[], [1]]
    assert list(crash.recovered.orders["status"]) == ["CANCELLED"]


def test_a_story_in_which_nothing_is_killed_has_an_end_only() -> None:
    crash = crash_at(story="sold out")
    assert crash.left == []
    assert list(crash.recovered.orders["status"]) == ["CANCELLED"]


def test_a_point_that_the_story_does_not_meet_is_told_with_those_it_meets() -> None:
    with pytest.raises(PointNotMet, match="does not reach") as told:
        crash_at("*/*.mark_order_paid/effect/after", story="sold out")
    assert "checkout_workflow/1.create_order/effect/before" in str(told.value)


@pytest.mark.slow("kills a store")
def test_a_recovery_that_does_not_meet_a_point_is_told_from_a_story_that_does_not() -> None:
    with pytest.raises(PointNotMet, match="The recovery does not reach"):
        crash_at("*/*.reserve_inventory/effect/after", "*/*.create_order/effect/before", story="declined")
