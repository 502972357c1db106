"""The lessons with the most to click, in Notebook 7: its page is another one than JupyterLab's."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.clicks import CLICKS, FIRST
from tests.browser.jupyter import NOTEBOOK_7, OURS, REST, FrontEnd, Jupyter, run_all
from tests.browser.sight import hard_to_see

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow("a Notebook 7, a kernel and a store are started"),
    pytest.mark.thorough("clicks in lessons that are clicked in JupyterLab, too"),
]


@pytest.fixture(scope="module")
def front_end() -> FrontEnd:
    return NOTEBOOK_7


@pytest.mark.parametrize("lesson", CLICKS)
def test_what_is_clicked_is_answered_and_keeps_nobody_out(
    jupyter: Jupyter, page: Page, lesson: str, screenshots: Path, barriers: Callable[[Page, str], str]
) -> None:
    CLICKS[lesson](page, jupyter.open(page, lesson))
    assert hard_to_see(page, screenshots, lesson) == []
    if lesson == FIRST:  # the rest of the others takes minutes, and is run in JupyterLab
        run_all(page, REST)
    assert barriers(page, OURS) == ""
