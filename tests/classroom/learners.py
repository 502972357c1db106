"""What a learner does in a workshop, in a browser."""

import re
from collections.abc import Iterator

from playwright.sync_api import Browser, Locator, Page, expect

from tests.support import PATIENCE_SECONDS, eventually

PASSWORD = "correct horse battery staple"  # noqa: S105 - a learner's
_MILLISECONDS = 2000 * PATIENCE_SECONDS
_KERNELS = """async () => {
    const token = document.cookie.match(/_xsrf=([^;]+)/)[1];
    const answer = await fetch("/user/SEAT/api/sessions", {headers: {"X-XSRFToken": token}});
    return (await answer.json()).map(session => session.kernel);
}"""


def new_page(browser: Browser) -> Iterator[Page]:
    """A learner's browser, which also takes a certificate that nobody has signed."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, ignore_https_errors=True)
    context.set_default_timeout(_MILLISECONDS)
    yield context.new_page()
    context.close()


def log_in(page: Page, url: str, seat: str, password: str, word: str = "") -> None:
    """Fill in the form of the first page."""
    page.goto(f"{url}/hub/login")
    page.get_by_label("Username").fill(seat)
    page.get_by_label("Password").fill(password)
    page.get_by_label(re.compile("Class word")).fill(word)
    page.get_by_role("button", name="Sign in").click()


def opened_lesson(page: Page, seat: str) -> Locator:
    """The lesson that a seat's server opens first, with a kernel.

    The page says "idle" also before it is connected, and what is run then is lost.
    """
    page.wait_for_url(re.compile(f"/user/{seat}/lab/tree/00_start_here"))
    idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").first
    expect(idle).to_be_visible(timeout=_MILLISECONDS)
    page.locator(".jp-Notebook .jp-Cell").first.click()

    def is_connected() -> bool:
        kernels = page.evaluate(_KERNELS.replace("SEAT", seat))
        return any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels)

    eventually(is_connected, "a kernel that the lesson is connected to")
    return page.locator(".jp-Notebook")


def storefront_of(page: Page, seat: str) -> Page:
    """The page behind the link in the panel, where both orders of lesson 00 are, and a third is bought."""
    with page.context.expect_page() as opened:
        page.locator(f"a[href*='/user/{seat}/proxy/']").click()
    storefront = opened.value
    expect(storefront.get_by_role("table").get_by_text("dispatched")).to_have_count(2)
    storefront.get_by_role("button", name="Buy", exact=True).click()
    expect(storefront.get_by_text("97 on the shelf")).to_be_visible()
    return storefront
