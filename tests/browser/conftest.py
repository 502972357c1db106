"""Pages of a real browser, and the course in JupyterLab."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import NONE_HERE, chromium, executable
from tests.browser.jupyter import FrontEnd, Jupyter, serving_notebooks
from tests.browser.sight import wait_for_theme
from tests.tools.notebooks import copied_course
from widget_store.course import learners_copy

SCREENSHOTS = Path(__file__).parents[2] / "test-results"
PANDAS = {"empty-table-header": {"enabled": False}}  # its tables have one in the corner, above the index
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, or one line that says how to get it. In CI its absence is a failure.

    Ended with its module: Playwright keeps an event loop running, under which other tests can't start theirs.
    """
    if executable() is None:
        if os.environ.get("CI"):
            pytest.fail(NONE_HERE)
        pytest.skip(NONE_HERE)
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser without a past."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def course(public_folder: Path) -> Iterator[Path]:
    """The lessons as learners get them, without outputs; one copy for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(public_folder))
        with copied_course() as folder:
            for lesson in folder.glob("*.ipynb"):
                lesson.write_bytes(learners_copy.clean(lesson.read_bytes()))
            yield folder


@pytest.fixture(scope="module")
def _server(course: Path, front_end: FrontEnd) -> Iterator[Jupyter]:
    with serving_notebooks(front_end, course) as jupyter:
        yield jupyter


@pytest.fixture
def jupyter(_server: Jupyter) -> Iterator[Jupyter]:
    """The module's `front_end` on the copied course, in which nobody has done anything yet."""
    for file in (_server.course / "work").glob("*.py"):
        file.unlink()
    yield _server
    _server.end_kernels()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """The folder in which a person finds what the browser showed."""
    SCREENSHOTS.mkdir(exist_ok=True)
    return SCREENSHOTS


@pytest.fixture(scope="session")
def barriers() -> Callable[[Page, str], str]:
    """What axe-core finds below some elements that keeps people out: contrast, names, roles, headings. Nothing is "".

    Looked at on light ground, and the colours on dark, too.
    """
    axe = Axe()

    def look(page: Page, below: str) -> str:
        page.emulate_media(color_scheme="light", reduced_motion="reduce")  # no colour is on its way to another
        wait_for_theme(page, "light")
        everything = axe.run(page, below, {"rules": PANDAS})
        page.emulate_media(color_scheme="dark")
        wait_for_theme(page, "dark")
        colours = axe.run(page, below, {"runOnly": ["color-contrast"]})
        page.emulate_media(color_scheme="light")
        wait_for_theme(page, "light")
        assert everything.response["passes"], f"axe-core looked at nothing: is there a {below}?"
        return "\n".join(found.generate_report() for found in (everything, colours) if found.violations_count)

    return look
