"""Two of something, in a real JupyterLab: two tabs on one lesson, and two lessons on one database."""

import re

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.jupyter import FAILED, LAB, FrontEnd, Jupyter, choose, run_to_panel

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow("a JupyterLab, kernels and stores are started"),
    pytest.mark.thorough("opens lessons that are opened elsewhere, too"),
]

FIRST = "00_start_here"


@pytest.fixture(scope="module")
def front_end() -> FrontEnd:
    return LAB


@pytest.fixture
def second_page(page: Page) -> Page:
    return page.context.new_page()


def test_two_tabs_and_two_views_of_one_lesson_show_one_panel(jupyter: Jupyter, page: Page, second_page: Page) -> None:
    _clear_outputs(jupyter)  # as in a learner's copy; what another has run is not trusted, and a tab does not show it
    jupyter.open(page, FIRST)
    run_to_panel(page, FIRST, "Lab:")
    choose(page, "File", "Save Notebook")
    expect(page.get_by_text("Saving completed")).to_be_visible()
    jupyter.open(second_page, FIRST)
    choose(second_page, "File", "New View for Notebook")
    expect(second_page.get_by_role("button", name="Buy a widget")).to_have_count(2)

    page.get_by_role("button", name="Buy a widget").click()
    expect(page.get_by_text("Now pay, or decline.")).to_be_visible()
    expect(second_page.get_by_text("Now pay, or decline.")).to_have_count(2)
    second_page.get_by_role("button", name="Pay").first.click()
    order = re.compile("Order 1: DISPATCHED.* No crash")
    expect(second_page.get_by_role("img", name=order)).to_have_count(2)
    expect(page.get_by_role("img", name=order)).to_be_visible()


def test_of_two_lessons_at_once_the_second_says_why_it_waits_and_nothing_breaks(
    jupyter: Jupyter, page: Page, second_page: Page
) -> None:
    jupyter.open(page, FIRST)
    run_to_panel(page, FIRST, "Lab:")
    page.get_by_role("button", name="Buy a widget").click()
    expect(page.get_by_text("Now pay, or decline.")).to_be_visible()

    second = jupyter.open(second_page, "07_recovered_state")
    opens_a_store = second.locator(".jp-CodeCell").first
    opens_a_store.click()
    second_page.keyboard.press("Shift+Enter")
    error = opens_a_store.locator(FAILED)
    said = r"^\w+: Another store is open on the same database, .*the menu Kernel, Shut Down Kernel, .*run this again"
    expect(error).to_have_text(re.compile(said))

    page.get_by_role("button", name="Pay").click()
    expect(page.get_by_role("img", name=re.compile("Order 1: DISPATCHED.* No crash"))).to_be_visible()
    choose(page, "Kernel", "Shut Down Kernel")
    expect(page.get_by_text("No Kernel").first).to_be_visible()
    opens_a_store.click()
    second_page.keyboard.press("Shift+Enter")
    expect(opens_a_store.locator(".jp-InputPrompt")).to_have_text("[2]:")
    expect(error).to_have_count(0)


def _clear_outputs(jupyter: Jupyter) -> None:
    file = jupyter.course / f"{FIRST}.ipynb"
    notebook = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, file)
