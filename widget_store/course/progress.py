"""How far a learner has come: kept in the learner's own folder, and sent nowhere."""

import json
import os
import sys
from enum import Enum
from pathlib import Path

from widget_store.course.files import lessons, write_whole
from widget_store.course.learners_copy import WORK, default_folder


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


def main(folder: Path) -> int:
    """The command `widget-store progress`: each exercise, and how far the learner has come in their copy."""
    from widget_store.course.checks import all_exercises

    progress = Progress(folder / WORK)
    exercises = all_exercises()
    for lesson in lessons():
        print(f"\n{lesson.stem}")
        for exercise in exercises:
            if exercise.notebook == lesson.name[:2]:
                print(f"  {progress.of(exercise.name).value} {exercise.name}: {exercise.asks}")
    solved = sum(progress.of(exercise.name) == Outcome.SOLVED for exercise in exercises)
    print(f"\n{solved} of {len(exercises)} solved in {folder}.   ✔ solved   ✘ tried, not solved   … not tried")
    return 0


if __name__ == "__main__":
    try:
        status = main(Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else default_folder())
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read what we print has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
