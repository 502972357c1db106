"""The storefront page in a real browser: a whole purchase, with a crash in the middle."""

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.support import Books, Serving, serving
from widget_store.databases import Database

Barriers = Callable[[Page, str], str]
NOTE_WHAT_IS_SHOWN = """
notices => {
    const shown = new Set()
    const look = () => {
        notices.filter(id => !document.getElementById(id).hidden).forEach(id => shown.add(id))
        document.body.dataset.shown = [...shown].join(', ')
    }
    new MutationObserver(look).observe(document.body, { subtree: true, attributeFilter: ['hidden'] })
    look()
}
"""
PUT_INTO_THE_PAGE = """
html => {
    window.refused = []
    document.addEventListener('securitypolicyviolation', violation => refused.push(violation.effectiveDirective))
    document.body.append(document.createRange().createContextualFragment(html))
}
"""

pytestmark = [pytest.mark.browser, pytest.mark.slow("a browser, and a dispatch that takes a few seconds to look at")]


@pytest.fixture(scope="module")
def database(new_database: Callable[[str], Database]) -> Database:
    return new_database("postgresql")


@pytest.fixture(scope="module")
def served(database: Database, public_folder: Path) -> Iterator[Serving]:
    settings = {"WIDGET_STORE_DATABASE_URL": database.url, "WIDGET_STORE_DISPATCH_INTERVAL": "0.3"}
    with serving(public_folder, "--crash-endpoint", **settings) as store:
        yield store


@pytest.fixture
def shop(served: Serving, page: Page) -> Page:
    """The page, once it has seen the shelf."""
    page.goto(f"{served.url}/")
    expect(page.locator("#stock")).to_contain_text("on the shelf")
    return page


def test_a_purchase_survives_a_crash_and_a_reload(shop: Page, served: Serving, books: Books, screenshots: Path) -> None:
    shop.get_by_role("button", name=re.compile("^Buy")).click()
    expect(shop.locator("#payment")).to_be_visible()

    with _loses_the_store_and_finds_it_again(shop):
        shop.locator("#crash").click()
    shop.reload()
    expect(shop.locator("#payment")).to_be_visible()

    shop.locator("#pay").click()
    expect(shop.locator("#order-progress")).to_be_visible()
    served.kill_worker()
    expect(shop.locator("#order-status")).to_have_text(re.compile(r"^Order \d+: dispatched$"))
    assert books.violations() == []
    for width in (800, 1400):
        shop.set_viewport_size({"width": width, "height": 1000})
        shop.screenshot(path=screenshots / f"storefront-{width}.png")


@contextlib.contextmanager
def _loses_the_store_and_finds_it_again(page: Page) -> Iterator[None]:
    """A store may be back before anybody can look, so the page itself notes which notices it shows."""
    page.evaluate(NOTE_WHAT_IS_SHOWN, ["banner", "reconnected"])
    yield
    expect(page.locator("body")).to_have_attribute("data-shown", "banner, reconnected")
    expect(page.locator("#banner")).to_be_hidden()


def test_the_page_behind_the_labs_link_may_crash_the_store_and_any_other_may_not(
    page: Page, database: Database, public_folder: Path
) -> None:
    settings = {"WIDGET_STORE_DATABASE_URL": database.url, "WIDGET_STORE_CRASH_TOKEN": "known-to-few"}
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with serving(public_folder, "--crash-endpoint", **settings) as store:
        worker = store.worker()
        page.goto(f"{store.url}/")
        page.locator("#crash").click()
        expect(page.locator("#message")).to_contain_text("The store did not crash.")
        assert store.worker() == worker
        page.goto("about:blank")
        page.goto(f"{store.url}/#crash-token=known-to-few")
        expect(page).to_have_url(f"{store.url}/")
        page.reload()
        with _loses_the_store_and_finds_it_again(page):
            page.locator("#crash").click()
        assert store.worker() != worker
    assert [url for url in asked if "known" in url and not url.startswith(f"{store.url}/#")] == []


def test_nothing_on_the_page_keeps_anybody_out(shop: Page, barriers: Barriers, screenshots: Path) -> None:
    """Looked at before, during and after a purchase, and while the store is away."""
    assert barriers(shop, "html") == "", "with nothing on order"
    shop.locator("#buy").click()
    expect(shop.locator("#payment")).to_be_visible()
    assert barriers(shop, "html") == "", "while it waits for the payment"

    shop.route("**/*", _store_is_away)
    expect(shop.locator("#banner")).to_be_visible()
    assert barriers(shop, "html") == "", "while the store is away"
    shop.screenshot(path=screenshots / "storefront-connection-lost.png")
    with _loses_the_store_and_finds_it_again(shop):
        shop.unroute("**/*", _store_is_away)
    assert barriers(shop, "html") == "", "when it is back"

    shop.locator("#pay").click()
    expect(shop.locator("#order-progress")).to_be_visible()
    assert barriers(shop, "html") == "", "during the dispatch"
    expect(shop.locator("#order-status")).to_have_text(re.compile(r"^Order \d+: dispatched$"))
    assert barriers(shop, "html") == "", "after the purchase"


def _store_is_away(route: Route) -> None:
    route.abort()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("forced", ["none", "active"])
def test_how_far_a_dispatch_is_can_be_seen_also_where_colours_are_forced(
    shop: Page, scheme: Literal["light", "dark"], forced: Literal["none", "active"]
) -> None:
    shop.emulate_media(color_scheme=scheme, forced_colors=forced)
    shop.evaluate("document.body.innerHTML = '<progress max=10 value=5></progress>'")
    with Image.open(io.BytesIO(shop.locator("progress").screenshot())) as bar:
        middle = bar.convert("L").tobytes()[bar.width * (bar.height // 2) :]
    done, to_do = middle[bar.width // 4], middle[bar.width * 3 // 4]
    assert abs(done - to_do) > 50


def test_a_declined_purchase_gives_the_widget_back_and_the_next_one_is_new(shop: Page) -> None:
    before = shop.locator("#stock").inner_text()
    shop.locator("#buy").click()
    shop.locator("#decline").click()
    expect(shop.locator("#payment")).to_be_hidden()
    expect(shop.locator("#orders tr").first).to_contain_text(re.compile("cancelled", re.IGNORECASE))
    expect(shop.locator("#stock")).to_have_text(before)
    shop.locator("#buy").click()
    expect(shop.locator("#payment")).to_be_visible()
    shop.locator("#decline").click()
    expect(shop.locator("#payment")).to_be_hidden()


def test_the_whole_purchase_works_with_the_keyboard_alone(shop: Page) -> None:
    _press_tab_to(shop, "buy")
    shop.keyboard.press("Enter")
    expect(shop.locator("#payment")).to_be_visible()
    _press_tab_to(shop, "pay")
    shop.keyboard.press("Space")
    expect(shop.locator("#order-status")).to_have_text(re.compile(r"^Order \d+: dispatched$"))


def test_nothing_is_loaded_from_elsewhere(served: Serving, page: Page) -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(f"{served.url}/")
    expect(page.locator("#stock")).to_contain_text("on the shelf")
    assert addresses
    assert [address for address in addresses if not address.startswith((served.url, "data:"))] == []


def test_what_the_database_says_is_shown_as_text_and_never_run(shop: Page, books: Books) -> None:
    product = "UPDATE products SET product = :name RETURNING product"
    ((before,),) = books.store("SELECT product FROM products")
    hostile = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>"
    books.store(product, name=hostile)
    try:
        shop.reload()
        expect(shop.locator("#product-name")).to_have_text(hostile)
        assert shop.title() != "taken over"
        shop.evaluate(PUT_INTO_THE_PAGE, hostile)
        shop.wait_for_function("['script-src-attr', 'script-src-elem'].every(it => refused.includes(it))")
        assert shop.title() != "taken over", "its policy runs no script that has come into the page"
    finally:
        books.store(product, name=before)


def _press_tab_to(page: Page, element: str) -> None:
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == element:
            return
    pytest.fail(f"#{element} can't be reached with the Tab key")
