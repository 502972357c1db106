"""The storefront page in a real browser: a whole purchase, with a crash in the middle."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from widget_store.lab import Store

pytestmark = [pytest.mark.browser, pytest.mark.slow("a browser, and a dispatch that takes a few seconds to look at")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WIDGET_STORE_DATA_DIR", str(tmp_path_factory.mktemp("storefront")))
        environment.delenv("WIDGET_STORE_DATABASE_URL", raising=False)
        with Store(dispatch_interval=0.3) as running:
            yield running


def test_a_purchase_survives_a_crash_and_a_reload(store: Store, page: Page, screenshots: Path) -> None:
    page.goto(f"{store.url}/")
    expect(page.locator("#stock")).to_contain_text("on the shelf")
    page.get_by_role("button", name=re.compile("^Buy")).click()
    expect(page.locator("#payment")).to_be_visible()

    page.locator("#crash").click()
    expect(page.locator("#banner")).to_be_visible()
    page.screenshot(path=screenshots / "storefront-connection-lost.png")
    expect(page.locator("#banner")).to_be_hidden()
    page.reload()
    expect(page.locator("#payment")).to_be_visible()

    page.locator("#pay").click()
    expect(page.locator("#order-progress")).to_be_visible()
    store.crash()
    expect(page.locator("#order-status")).to_have_text(re.compile(r"^Order \d+: dispatched$"))
    assert store.state.books()["missing"] == 0
    for width in (800, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        page.screenshot(path=screenshots / f"storefront-{width}.png")


def test_a_declined_purchase_gives_the_widget_back_and_the_next_one_is_new(store: Store, page: Page) -> None:
    page.goto(f"{store.url}/")
    expect(page.locator("#stock")).to_contain_text("on the shelf")
    before = page.locator("#stock").inner_text()
    page.locator("#buy").click()
    page.locator("#decline").click()
    expect(page.locator("#payment")).to_be_hidden()
    expect(page.locator("#orders tr").first).to_contain_text(re.compile("cancelled", re.IGNORECASE))
    expect(page.locator("#stock")).to_have_text(before)
    page.locator("#buy").click()
    expect(page.locator("#payment")).to_be_visible()
    page.locator("#decline").click()
    expect(page.locator("#payment")).to_be_hidden()


def test_the_whole_purchase_works_with_the_keyboard_alone(store: Store, page: Page) -> None:
    page.goto(f"{store.url}/")
    expect(page.locator("#stock")).to_contain_text("on the shelf")
    _press_tab_to(page, "buy")
    page.keyboard.press("Enter")
    expect(page.locator("#payment")).to_be_visible()
    _press_tab_to(page, "pay")
    page.keyboard.press("Space")
    expect(page.locator("#order-status")).to_have_text(re.compile(r"^Order \d+: dispatched$"))


def test_nothing_is_loaded_from_elsewhere(store: Store, page: Page) -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(f"{store.url}/")
    expect(page.locator("#stock")).to_contain_text("on the shelf")
    assert addresses
    assert [address for address in addresses if not address.startswith((store.url, "data:"))] == []


def _press_tab_to(page: Page, element: str) -> None:
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == element:
            return
    pytest.fail(f"#{element} can't be reached with the Tab key")
