"""Debian's Chromium or Google Chrome, driven by Playwright for Python."""

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

NONE_HERE = "no Chromium on this machine: `apt install chromium` (Debian), or install Google Chrome"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",  # the tests may run as root, where Chromium's sandbox can't
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)


def executable() -> str | None:
    """Where it is; None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window.

    Raises:
        FileNotFoundError: When there is none on this machine.
    """
    path = executable()
    if path is None:
        raise FileNotFoundError(NONE_HERE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
