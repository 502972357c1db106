"""What judges need: that a kill which never came to pass is not taken for one that was survived."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT
from widget_store.course.checks import Wrong
from widget_store.course.judging import Kill, Rule, must_be_equal, must_survive
from widget_store.databases import Database
from widget_store.lab.scenarios import SCENARIOS

SOLUTION = ROOT / "notebooks" / "solutions" / "confirmation_mail.py"


@pytest.mark.slow("plays a story that is never killed, several times")
@pytest.mark.parametrize("recovered", [None, lambda _connection: ()], ids=["of the story", "of its own"])
def test_a_kill_that_never_came_to_pass_is_not_survived(
    recovered: Rule | None, new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database("sqlite").url)
    monkeypatch.chdir(tmp_path)
    kill = Kill(SCENARIOS["paid"], "checkout_workflow/9.tea/effect/after", recovered=recovered)
    with pytest.raises(Wrong, match=r"never reaches the crash point checkout_workflow/9\.tea"):
        must_survive(SOLUTION, [kill])


def test_of_a_wrong_answer_the_wrong_part_is_named_and_the_right_value_is_kept() -> None:
    truth = {"DISPATCHED": 17, "CANCELLED": 1, "on the shelf": 99}
    with pytest.raises(Wrong) as one:
        must_be_equal({"DISPATCHED": 3, "CANCELLED": 1, "on the shelf": "99"}, truth)
    assert str(one.value) == "DISPATCHED: you said 3, but the database has something else. The rest is right."
    with pytest.raises(Wrong) as all_three:
        must_be_equal(dict.fromkeys(truth, 0), truth, witness="it was")
    assert str(all_three.value) == (
        "DISPATCHED: you said 0, but it was something else; CANCELLED: you said 0, but it was something else; "
        "on the shelf: you said 0, but it was something else."
    )
    must_be_equal(truth, truth)
