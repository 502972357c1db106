"""How checks ended: kept in the learner's own folder, and sent nowhere."""

import json
from enum import Enum
from pathlib import Path

from widget_store.course.files import write_whole


class Outcome(Enum):
    """How a check ended: how it is marked, and called."""

    SOLVED = "✔"
    WRONG = "✘"
    NOT_ATTEMPTED = "…"


class Progress:
    """Which exercises were tried, and which were solved.

    Args:
        folder: The learner's folder; it is made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "progress.json"
        try:
            self._outcomes: dict[str, str] = dict(json.loads(self._file.read_bytes()))
        except (OSError, ValueError, TypeError):  # there is none, or it is damaged
            self._outcomes = {}

    def note(self, exercise: str, outcome: Outcome) -> None:
        """Keep the outcome of an exercise; what was solved once stays solved."""
        if outcome == Outcome.NOT_ATTEMPTED or self.of(exercise) == Outcome.SOLVED:
            return
        self._outcomes[exercise] = outcome.name
        self._file.parent.mkdir(exist_ok=True)
        write_whole(self._file, (json.dumps(self._outcomes, indent=2) + "\n").encode())

    def of(self, exercise: str) -> Outcome:
        """How far the learner has come with an exercise."""
        return Outcome.__members__.get(self._outcomes.get(exercise, ""), Outcome.NOT_ATTEMPTED)
