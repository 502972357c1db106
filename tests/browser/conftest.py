"""A real browser: Debian's Chromium, driven by Playwright for Python."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

SCREENSHOTS = Path(__file__).parents[2] / "test-results"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
expect.set_options(timeout=60_000)
_FLAGS = (
    "--no-sandbox",  # the tests may run as root, where Chromium's sandbox can't
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, or one line that says how to get it. In CI its absence is a failure."""
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        how = "no Chromium on this machine: `apt install chromium` (Debian), or install Google Chrome"
        if os.environ.get("CI"):
            pytest.fail(how)
        pytest.skip(how)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser without a past."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """The folder in which a person finds what the browser showed."""
    SCREENSHOTS.mkdir(exist_ok=True)
    return SCREENSHOTS
