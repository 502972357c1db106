"""What judges need: that a kill which never came to pass is not taken for one that was survived."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT
from widget_store.course.checks import Wrong
from widget_store.course.judging import Kill, Rule, must_survive
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
