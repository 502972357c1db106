"""The notebooks in a real JupyterLab: their cells are run, their buttons are clicked."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.clicks import buy_crash_and_pay, kill_a_worker, lose_an_answer, predict_and_crash
from tests.browser.jupyter import LAB, OURS, REST, FrontEnd, Jupyter, run_all, run_to_panel
from tests.tools.notebooks import all_notebooks
from tests.tools.solved import solve

LESSONS = [path.stem for path in all_notebooks()]
CLICKED = {"00_start_here", "01_a_fragile_checkout", "04_crash_lab", "06_the_provider_fails", "12_many_workers"}
"""The lessons whose buttons are clicked. After that, they are run to the end, too."""

pytestmark = [pytest.mark.browser, pytest.mark.slow("a JupyterLab, a kernel and a store are started")]


@pytest.fixture(scope="module")
def front_end() -> FrontEnd:
    return LAB


def take_pictures(page: Page, folder: Path, name: str) -> None:
    """The whole notebook for a person to look at: wide and narrow, light and dark."""
    for width in (1400, 800):
        page.set_viewport_size({"width": width, "height": 1000})
        height = page.locator(".jp-WindowedPanel-outer").first.evaluate("panel => panel.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(16_000, height + 200)})
        page.locator(".jp-Notebook .jp-Cell").first.scroll_into_view_if_needed()
        for scheme in ("dark", "light"):  # each is a change, which JupyterLab is told of
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("body")).to_have_attribute("data-jp-theme-light", str(scheme == "light").lower())
            expect(page.locator("#jupyterlab-splash")).to_have_count(0)
            page.screenshot(path=folder / f"{name}-{width}-{scheme}.png")
    page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_learner_buys_crashes_and_pays_with_the_buttons_and_then_runs_the_rest(
    jupyter: Jupyter, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    run = jupyter.open(page, "00_start_here")
    expect(run.locator(".jp-CodeCell .cm-lineWrapping")).not_to_have_count(0)  # so that a projector shows all of a line
    buy_crash_and_pay(page, run)
    for width in (800, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        page.get_by_role("button", name="Crash").scroll_into_view_if_needed()
        page.screenshot(path=screenshots / f"lab-after-a-crash-{width}.png")

    assert barriers(page, OURS) == ""
    run_all(page)
    assert barriers(page, OURS) == ""


@pytest.mark.thorough("runs another lesson")
@pytest.mark.parametrize(
    "lesson",
    [
        pytest.param(lesson, marks=[pytest.mark.nightly("runs one more lesson")] if place % 4 else [])
        for place, lesson in enumerate(lesson for lesson in LESSONS if lesson not in CLICKED)
    ],
)
def test_a_lesson_runs_from_top_to_bottom_and_keeps_nobody_out(
    jupyter: Jupyter, page: Page, lesson: str, barriers: Callable[[Page, str], str]
) -> None:
    jupyter.open(page, lesson)
    run_all(page)
    assert barriers(page, OURS) == ""


@pytest.fixture(params=LESSONS)
def solved(request: pytest.FixtureRequest, course: Path) -> str:
    """A lesson in which every exercise is done."""
    lesson = f"solved_{request.param}"
    notebook = nbformat.read(course / f"{request.param}.ipynb", as_version=4)
    solve(notebook, course)
    nbformat.write(notebook, course / f"{lesson}.ipynb")
    return lesson


@pytest.mark.pictures
def test_a_solved_lesson_has_its_pictures_taken(
    jupyter: Jupyter, page: Page, solved: str, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    jupyter.open(page, solved)
    run_all(page)
    assert barriers(page, OURS) == ""
    take_pictures(page, screenshots, solved)


@pytest.mark.thorough("clicks in another lesson")
def test_a_plain_checkout_takes_the_money_and_loses_the_order(
    jupyter: Jupyter, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    lesson = jupyter.open(page, "01_a_fragile_checkout")
    run_to_panel(page, "01_a_fragile_checkout", "Lab:")
    page.get_by_role("button", name="Buy a widget").click()
    expect(lesson.get_by_text("Now pay, or decline.")).to_be_visible()
    page.get_by_role("button", name="Crash").click()
    expect(lesson.get_by_text("You killed the serving process.")).to_be_visible()
    page.get_by_role("button", name="Pay").click()
    expect(lesson.get_by_role("alert").filter(has_text="The store refused: There is no payment")).to_be_visible()
    page.screenshot(path=screenshots / "fragile-checkout-clicked.png")
    run_all(page, REST)
    assert barriers(page, OURS) == ""


@pytest.mark.thorough("clicks in another lesson")
def test_a_prediction_is_compared_with_a_crash(
    jupyter: Jupyter, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    lesson = jupyter.open(page, "04_crash_lab")
    predict_and_crash(page, lesson)
    assert barriers(page, OURS) == ""
    for width in (800, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        page.get_by_role("button", name="Crash here").scroll_into_view_if_needed()
        page.screenshot(path=screenshots / f"crash-lab-clicked-{width}.png")
    run_all(page, REST)
    assert barriers(page, OURS) == ""


@pytest.mark.thorough("clicks in another lesson")
def test_a_provider_that_loses_its_answers_takes_the_money_again_and_again(
    jupyter: Jupyter, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    lesson = jupyter.open(page, "06_the_provider_fails")
    lose_an_answer(page, lesson)
    assert barriers(page, OURS) == ""
    for width in (800, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        page.get_by_role("button", name="Lose the answer").scroll_into_view_if_needed()
        page.screenshot(path=screenshots / f"provider-clicked-{width}.png")
    run_all(page, REST)
    assert barriers(page, OURS) == ""


@pytest.mark.thorough("clicks in another lesson")
def test_a_survivor_finishes_the_orders_of_a_worker_that_was_killed_by_a_click(
    jupyter: Jupyter, page: Page, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    lesson = jupyter.open(page, "12_many_workers")
    kill_a_worker(page, lesson)
    assert barriers(page, OURS) == ""
    page.screenshot(path=screenshots / "workers-clicked.png")
    run_all(page, REST)
    assert barriers(page, OURS) == ""
