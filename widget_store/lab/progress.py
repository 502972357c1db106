"""How far a learner has come: kept in the learner's own folder, and sent nowhere."""

import json
import sys
from enum import Enum
from pathlib import Path


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
            self._outcomes: dict[str, str] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._outcomes = {}

    def note(self, exercise: str, outcome: Outcome) -> None:
        """Keep the outcome of an exercise; what was solved once stays solved."""
        if outcome == Outcome.NOT_ATTEMPTED or self.of(exercise) == Outcome.SOLVED:
            return
        self._outcomes[exercise] = outcome.name
        self._file.parent.mkdir(exist_ok=True)
        self._file.write_text(json.dumps(self._outcomes, indent=2) + "\n", encoding="utf-8")

    def of(self, exercise: str) -> Outcome:
        """How far the learner has come with an exercise."""
        return Outcome.__members__.get(self._outcomes.get(exercise, ""), Outcome.NOT_ATTEMPTED)


def main(notebooks: Path) -> int:
    """The command `widget-store progress`: each exercise, and how far the learner has come."""
    from widget_store.lab.checks import WORK, all_exercises

    progress = Progress(notebooks / WORK)
    exercises = all_exercises()
    for notebook in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        print(f"\n{notebook.stem}")
        for exercise in exercises:
            if exercise.notebook == notebook.name[:2]:
                print(f"  {progress.of(exercise.name).value} {exercise.name}: {exercise.asks}")
    solved = sum(progress.of(exercise.name) == Outcome.SOLVED for exercise in exercises)
    print(f"\n{solved} of {len(exercises)} solved.   ✔ solved   ✘ tried   … not yet")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
