"""Every notebook is made after one template, and its exercises after another."""

import base64
import itertools
import re
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import pytest

from tests.tools.notebooks import (
    FIGURE,
    NAVIGATION,
    NOTEBOOKS,
    PANELS,
    WIDGET_VIEW,
    all_notebooks,
    navigation,
    pictured,
)
from widget_store.course.checks import all_exercises

LESSONS = all_notebooks()
BARE_WIDGETS = [name for name, its in vars(ipywidgets).items() if isinstance(its, type)]
UNSTEADY = "nbval-ignore-output"

each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


def cells(lesson: Path, kind: str | None = None) -> list[Any]:
    return [cell for cell in nbformat.read(lesson, as_version=4).cells if kind in {None, cell.cell_type}]


def headings(lesson: Path) -> list[str]:
    text = "\n".join(re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL) for cell in cells(lesson, "markdown"))
    return re.findall(r"^#+ .*$", text, re.MULTILINE)


@each_lesson
def test_it_begins_with_what_a_learner_wants_to_know(lesson: Path) -> None:
    opening = cells(lesson)[0]
    assert opening.cell_type == "markdown"
    assert re.match(r"# \S", opening.source)
    assert re.search(r"^\*\*You will be able to\*\*\n(- .+\n)+", opening.source, re.MULTILINE)
    minutes = re.search(r"\*\*Time:\*\* (\d+) minutes", opening.source)
    assert minutes
    assert 15 <= int(minutes[1]) <= 30
    assert "**You need:**" in opening.source


@each_lesson
def test_it_has_a_figure_in_itself_that_a_screen_reader_reads(lesson: Path) -> None:
    ((file, words, content),) = FIGURE.findall(cells(lesson)[0].source)
    assert len(words) > 40, "the words say what the figure says"
    assert base64.b64decode(content) == (NOTEBOOKS / file).read_bytes(), "make notebooks puts it in"


@each_lesson
def test_it_ends_with_a_recap_and_links(lesson: Path) -> None:
    recap, links = cells(lesson)[-2:]
    assert recap.source.startswith("## Recap\n")
    assert links.metadata.tags == [NAVIGATION]
    assert links.source == navigation(lesson, LESSONS), "make notebooks writes them"


@each_lesson
def test_its_recap_asks_questions_and_the_answers_are_folded(lesson: Path) -> None:
    _, _, asked = cells(lesson)[-2].source.partition("\n\n**Questions**\n\n")
    fold = r"   <details><summary>Answer</summary>\n\n(?:   .+\n)+\n   </details>"
    question = rf"\d\. (?:.+\n   )*.*\?\n\n{fold}"
    assert re.fullmatch(rf"{question}(?:\n\n{question}){{1,3}}", asked), "two to four questions, and an answer to each"
    numbers = [int(number) for number in re.findall(r"^(\d)\. ", asked, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


@each_lesson
def test_its_headings_are_in_order(lesson: Path) -> None:
    levels = [len(heading.partition(" ")[0]) for heading in headings(lesson)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(next_one <= level + 1 for level, next_one in itertools.pairwise(levels))


@each_lesson
def test_every_link_leads_somewhere(lesson: Path) -> None:
    text = "\n".join(cell.source for cell in cells(lesson, "markdown"))
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (lesson.parent / target).exists()] == []


@each_lesson
def test_it_is_stored_executed_and_nothing_went_wrong(lesson: Path) -> None:
    code = cells(lesson, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert "widgets" not in nbformat.read(lesson, as_version=4).metadata
    assert not [output for output in outputs if WIDGET_VIEW in output.get("data", {})]


@each_lesson
def test_it_has_at_least_two_exercises_each_with_its_check_right_below(lesson: Path) -> None:
    code = cells(lesson, "code")
    asked = [exercise for exercise in all_exercises() if exercise.notebook == lesson.name[:2]]
    assert len(asked) >= 2
    places = {cell.metadata["exercise"]: place for place, cell in enumerate(code) if "exercise" in cell.metadata}
    assert set(places) == {exercise.name for exercise in asked}
    for exercise in asked:
        cell, below = code[places[exercise.name]], code[places[exercise.name] + 1]
        start = exercise.start_file.name
        begins = (NOTEBOOKS / "solutions" / "start" / start).read_text().strip()
        writes = f"%%writefile {exercise.file.as_posix()}\n" if exercise.takes_file else ""
        assert cell.source == writes + begins, f"it begins as solutions/start/{start}"
        assert below.source.startswith(f"check.{exercise.name}({'' if exercise.takes_file else 'answer'})")


def test_there_are_at_least_24_exercises_and_each_belongs_to_a_notebook() -> None:
    exercises = all_exercises()
    assert len(exercises) >= 24
    assert {exercise.notebook for exercise in exercises} == {lesson.name[:2] for lesson in LESSONS}


def test_outputs_that_are_not_compared_are_few_and_have_a_reason() -> None:
    code = [cell for lesson in LESSONS for cell in cells(lesson, "code")]
    unsteady = [cell for cell in code if UNSTEADY in cell.metadata.get("tags", [])]
    assert len(unsteady) <= 0.05 * len(code)
    assert all(cell.metadata.get("reason") for cell in unsteady)


def test_every_solution_and_start_belongs_to_an_exercise() -> None:
    names = {exercise.name for exercise in all_exercises()}
    for folder in (NOTEBOOKS / "solutions", NOTEBOOKS / "solutions" / "start"):
        assert {file.stem for file in folder.glob("*.py")} == names


@each_lesson
def test_no_output_is_lost_where_the_notebook_is_not_trusted_or_not_run(lesson: Path) -> None:
    """JupyterLab takes SVG out of what it can't trust, and leaves a line of its words. A bare widget is only a name."""
    data = [output.get("data", {}) for cell in cells(lesson, "code") for output in cell.outputs]
    assert not [each for each in data if "image/svg+xml" in each or "<svg" in each.get("text/html", "")]
    words = [each["text/plain"] for each in data if "text/plain" in each and "image/png" not in each]
    assert [text for text in words if text.startswith((*PANELS, *(f"{name}(" for name in BARE_WIDGETS)))] == []


@each_lesson
def test_who_runs_nothing_sees_its_panels(lesson: Path) -> None:
    for output in pictured(lesson):
        assert output.data["image/png"].startswith("iVBOR"), "make notebooks takes the picture"
        about = output.metadata["image/png"]
        assert about["width"] < 1000, "a picture has twice the pixels of its width"
        assert len(about["alt"]) > len(output.data["text/plain"]), "the words say what the picture shows"


def test_a_panel_of_which_the_text_speaks_is_above() -> None:
    spoken_of = 0
    for lesson in LESSONS:
        is_shown = False
        for cell in cells(lesson):
            is_shown |= any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
            if cell.cell_type == "markdown" and re.search(r"(timeline|panel|map)\b[^.]*\babove\b", cell.source):
                spoken_of += 1
                assert is_shown, f"{lesson.name}: {cell.source}"
    assert spoken_of


def test_the_pictures_of_all_lessons_are_small() -> None:
    sizes = [len(output.data["image/png"]) * 3 / 4 for lesson in LESSONS for output in pictured(lesson)]
    assert len(sizes) >= 14
    assert sum(sizes) < 6_000_000
