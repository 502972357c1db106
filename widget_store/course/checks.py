"""The exercises of the course: check an answer, give a hint, show a solution.

    check.plain_checkout()             check.one_crash(answer)
    check.plain_checkout.hint()        check.one_crash.solution()

An exercise asks for a file, which the learner writes to `work/` and which is run, killed and judged by what is then in
the database; or for an answer, which is compared with what a real run leaves there. A judge raises an outcome; here, in
one place, outcomes become words, and the learner's progress is kept.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from widget_store.course.files import solutions
from widget_store.course.learners_copy import WORK
from widget_store.course.outcomes import Outcome, Progress
from widget_store.errors import WidgetStoreError
from widget_store.plain_text import failure_in_words, plain
from widget_store.words import wrapped

SOLUTIONS = solutions()
"""The folder of the solutions."""


class NotAttempted(Exception):
    """There is nothing to judge yet. The message says what is missing."""


class Wrong(Exception):
    """The message says what was seen and what was expected, in a line or two."""


@dataclass(frozen=True)
class Exercise:
    """One exercise. `check.NAME()` checks your file, and `check.NAME(answer)` checks your answer.

    Attributes:
        name: Its name, which is also that of its solution and of the learner's file.
        notebook: The number of its notebook, as in "03".
        asks: What is asked, in a line.
        clue: The hint.
        judge: Given the learner's file or answer, it returns what was seen, or raises `Wrong` or `NotAttempted`.
        takes_file: Whether the learner writes a file.
    """

    name: str
    notebook: str
    asks: str
    clue: str
    judge: Callable[[Any], str]
    takes_file: bool

    @property
    def file(self) -> Path:
        """The learner's file."""
        return WORK / f"{self.name}.py"

    @property
    def solution_file(self) -> Path:
        """A solution: a file as the learner would write it, or a cell that sets `answer`."""
        return SOLUTIONS / f"{self.name}.py"

    @property
    def start_file(self) -> Path:
        """What the learner starts from."""
        return SOLUTIONS / "start" / f"{self.name}.py"

    def __call__(self, answer: object = ...) -> None:
        """Check your file or your answer, and print what was seen. An error is printed, too."""
        outcome, words = self.outcome(answer)
        Progress(WORK).note(self.name, outcome)
        print(wrapped(f"{outcome.value} {plain(words)}", "  "))

    def outcome(self, answer: object = ...) -> tuple[Outcome, str]:
        """The outcome of the check, and the words that go with it."""
        try:
            return Outcome.SOLVED, self.judge(self._attempt(answer))
        except NotAttempted as nothing:
            return Outcome.NOT_ATTEMPTED, f"Not attempted yet: {nothing}"
        except Wrong as wrong:
            return Outcome.WRONG, str(wrong)
        except WidgetStoreError as failure:
            return Outcome.WRONG, f"The check could not run. {failure}"
        except Exception as failure:  # noqa: BLE001 - nobody foresaw what the learner's work does
            return Outcome.WRONG, (
                f"The check can't judge this: it ended with {failure_in_words(failure)}. Compare your work with the "
                f"solution, check.{self.name}.solution()."
            )

    def hint(self) -> None:
        """Print the hint."""
        print(wrapped(f"Hint: {self.clue}", "  "))

    def solution(self) -> None:
        """Print a solution."""
        print(self.solution_file.read_text(encoding="utf-8").strip())

    def __repr__(self) -> str:
        call = f"check.{self.name}" + ("()" if self.takes_file else "(answer)")
        return f"{call}: {self.asks}"

    def _attempt(self, answer: object) -> object:
        """What is to be judged."""
        if not self.takes_file:
            if _has_gaps(answer):
                raise NotAttempted("replace the dots with your answer, run that cell, and check again.")
            return answer
        if not self.file.is_file():
            raise NotAttempted(f"there is no file {self.file.as_posix()}. Run the cell that writes it.")
        if _same_code(self.file, self.start_file):
            raise NotAttempted(f"you have not changed {self.file.as_posix()}. Edit the cell above, and run it.")
        return self.file


def _has_gaps(answer: object) -> bool:
    """Whether dots stand where an answer should."""
    if isinstance(answer, dict):
        return any(map(_has_gaps, answer.values()))
    if isinstance(answer, list | tuple | set):
        return any(map(_has_gaps, answer))
    return answer is ...


def _same_code(file: Path, other: Path) -> bool:
    """Whether two files hold the same program, whatever their comments and blanks."""
    try:
        programs = [ast.dump(ast.parse(each.read_text(encoding="utf-8"))) for each in (file, other)]
    except SyntaxError:
        return False  # the judge will say it
    return programs[0] == programs[1]


# --- all exercises

EXERCISES: dict[str, Exercise] = {}
"""Every exercise by its name, once `all_exercises` was asked for."""


def on_file(notebook: str, *, asks: str, hint: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    """Make a judge of a learner's file an exercise. The judge's name is the exercise's."""
    return lambda judge: _register(judge, notebook, asks, hint, takes_file=True)


def on_answer(notebook: str, *, asks: str, hint: str) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Make a judge of an answer an exercise. The judge's name is the exercise's."""
    return lambda judge: _register(judge, notebook, asks, hint, takes_file=False)


def _register(
    judge: Callable[[Any], str], notebook: str, asks: str, hint: str, *, takes_file: bool
) -> Callable[[Any], str]:
    name = judge.__name__
    assert name not in EXERCISES or EXERCISES[name].judge.__module__ == judge.__module__, f"two exercises named {name}"  # noqa: S101 - an author's mistake
    EXERCISES[name] = Exercise(name, notebook, asks, hint, judge, takes_file)
    return judge


def all_exercises() -> list[Exercise]:
    """Every exercise, in the order of the notebooks."""
    from widget_store.course import exercises

    for module in sorted(each.name for each in iter_modules(exercises.__path__)):
        import_module(f"{exercises.__name__}.{module}")
    return sorted(EXERCISES.values(), key=lambda exercise: exercise.notebook)


class Checks:
    """Every exercise as an attribute, also for the Tab key."""

    def __getattr__(self, name: str) -> Exercise:
        for exercise in all_exercises():
            if exercise.name == name:
                return exercise
        raise AttributeError(f"There is no exercise {name!r}. `dir(check)` lists them.")

    def __repr__(self) -> str:
        return "\n".join(map(repr, all_exercises()))

    def __dir__(self) -> Iterator[str]:
        return (exercise.name for exercise in all_exercises())


check = Checks()
"""Every exercise is an attribute of it, an `Exercise`. `check` alone lists them, and so does the Tab key."""
