"""Each exercise proves itself: untouched is not attempted, its solution passes, and plausible mistakes are named."""

import contextlib
from collections.abc import Callable, Iterator
from inspect import getsource
from pathlib import Path

import pytest

from tests.support import ROOT
from widget_store.course.checks import Exercise, all_exercises
from widget_store.course.outcomes import Outcome, Progress
from widget_store.databases import Database

WRONG_ANSWERS = ROOT / "tests" / "wrong_answers"
EXERCISES = all_exercises()
AN_EXAMPLE = "missing_return"
"""The exercise whose file and mistakes are judged after every change; those of the others are in CI."""
JUDGES_LONG = pytest.mark.thorough("runs, kills and judges a learner's work")
LIKE_THE_FIRST = pytest.mark.nightly("judges one more mistake of the same exercise")


each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
SAYS = "# says: "


@pytest.fixture(autouse=True)
def _as_in_a_notebook(tmp_path: Path) -> Iterator[None]:
    """The learner's folder is empty."""
    (tmp_path / "work").mkdir()
    with contextlib.chdir(tmp_path):
        yield


@pytest.fixture
def _its_database(backend: str, monkeypatch: pytest.MonkeyPatch, new_database: Callable[[str], Database]) -> None:
    """The judges' stores use a database of the tests'."""
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database(backend).url)


def outcome_of(exercise: Exercise, attempt: str) -> tuple[Outcome, str]:
    if exercise.takes_file:
        exercise.file.write_text(attempt)
        return exercise.outcome()
    return exercise.outcome(_answer_in(attempt))


@each_exercise
def test_untouched_it_is_not_attempted(exercise: Exercise) -> None:
    assert outcome_of(exercise, exercise.start_file.read_text())[0] == Outcome.NOT_ATTEMPTED
    assert outcome_of(exercise, f"# a comment\n{exercise.start_file.read_text()}")[0] == Outcome.NOT_ATTEMPTED


@pytest.mark.usefixtures("_its_database")
@pytest.mark.slow("runs, kills and judges a learner's file", weight=2)
@pytest.mark.parametrize("backend", ["postgresql"])  # with SQLite, test_solved.py solves them
@pytest.mark.parametrize(
    "exercise",
    [
        pytest.param(
            exercise,
            id=exercise.name,
            marks=[] if exercise.name == AN_EXAMPLE or not exercise.takes_file else [JUDGES_LONG],
        )
        for exercise in EXERCISES
    ],
)
def test_the_solution_passes(exercise: Exercise) -> None:
    outcome, words = outcome_of(exercise, exercise.solution_file.read_text())
    assert outcome == Outcome.SOLVED, words
    assert words


@pytest.mark.usefixtures("_its_database")
@pytest.mark.slow("runs, kills and judges a learner's file", weight=2)
@pytest.mark.parametrize(
    ("exercise", "mistake", "backend"),
    [
        pytest.param(
            exercise,
            mistake,
            "sqlite" if place else "postgresql",  # of each exercise's mistakes, one meets PostgreSQL
            id=f"{exercise.name}-{mistake.stem}",
            marks=[] if exercise.name == AN_EXAMPLE else [LIKE_THE_FIRST if place else JUDGES_LONG],
        )
        for exercise in EXERCISES
        for place, mistake in enumerate(sorted((WRONG_ANSWERS / exercise.name).glob("*.py")))
    ],
)
def test_a_plausible_mistake_fails_and_is_named(exercise: Exercise, mistake: Path) -> None:
    attempt = mistake.read_text(encoding="utf-8")
    first_line = attempt.splitlines()[0]
    assert first_line.startswith(SAYS)
    outcome, words = outcome_of(exercise, attempt)
    assert outcome == Outcome.WRONG, words
    assert first_line.removeprefix(SAYS) in words
    assert len(words.splitlines()) <= 3, "said in a line or two"


@each_exercise
def test_it_has_a_hint_and_two_wrong_answers(exercise: Exercise) -> None:
    assert exercise.clue
    assert exercise.asks
    assert len(list((WRONG_ANSWERS / exercise.name).glob("*.py"))) >= 2


def test_of_an_answer_that_is_a_dictionary_each_part_is_judged_and_no_value_is_told() -> None:
    in_parts = [
        each
        for each in EXERCISES
        if not each.takes_file and isinstance(_answer_in(each.solution_file.read_text()), dict)
    ]
    assert len(in_parts) >= 9
    assert [each.name for each in in_parts if "must_be_equal(answer" not in getsource(each.judge)] == []


def _answer_in(cell: str) -> object:
    names: dict[str, object] = {}
    exec(cell, names)  # noqa: S102 - a cell of a notebook
    return names["answer"]


def test_no_wrong_answer_belongs_to_nothing() -> None:
    assert {folder.name for folder in WRONG_ANSWERS.iterdir()} == {exercise.name for exercise in EXERCISES}


def test_progress_is_kept_and_what_is_solved_stays_solved(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    Progress(folder).note("a", Outcome.NOT_ATTEMPTED)
    assert not folder.exists()
    Progress(folder).note("a", Outcome.WRONG)
    assert Progress(folder).of("a") == Outcome.WRONG
    Progress(folder).note("a", Outcome.SOLVED)
    Progress(folder).note("a", Outcome.WRONG)
    assert Progress(folder).of("a") == Outcome.SOLVED
    assert Progress(folder).of("b") == Outcome.NOT_ATTEMPTED
    (folder / "progress.json").write_text("not JSON")
    assert Progress(folder).of("a") == Outcome.NOT_ATTEMPTED
