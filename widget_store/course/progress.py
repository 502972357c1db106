"""The command `widget-store progress`: how far a learner has come."""

import os
import sys
from pathlib import Path

from widget_store.course.checks import all_exercises
from widget_store.course.files import lessons
from widget_store.course.learners_copy import WORK, default_folder
from widget_store.course.outcomes import Outcome, Progress


def main(folder: Path) -> int:
    """Print each exercise, and how far the learner has come with it in their copy."""
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
