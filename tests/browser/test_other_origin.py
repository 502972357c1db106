"""A page of another site, in a real browser that reaches the store: whatever it tries, nothing is bought or crashed."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Page, expect

from tests.support import PATIENCE_SECONDS, Books, Serving, new_key, serving
from widget_store.databases import Database

pytestmark = [pytest.mark.browser, pytest.mark.slow("a browser, and a store that can be crashed")]

REBOUND = "evil.localhost"
"""A host name that leads to this machine, and is none of the store's; here the browser itself resolves it."""
TRIES: dict[str, str] = {
    "a form that is sent by itself": """
        const form = document.createElement("form");
        form.method = "POST"; form.action = url; document.body.append(form); form.submit();""",
    "a form with a field that looks like JSON": """
        const form = document.createElement("form");
        form.method = "POST"; form.enctype = "text/plain"; form.action = url; form.target = "frame";
        form.innerHTML = '<input name="{&quot;a&quot;:&quot;" value="&quot;}">';
        document.body.append(form); form.submit();""",
    "fetch": """await fetch(url, {method: "POST"});""",
    "fetch without reading the answer": """await fetch(url, {method: "POST", mode: "no-cors"});""",
    "fetch with a header of its own": """await fetch(url, {method: "POST", headers: {"X-Mine": "1"}});""",
    "fetch without a referrer": """
        await fetch(url, {method: "POST", mode: "no-cors", referrerPolicy: "no-referrer"});""",
    "a beacon": """navigator.sendBeacon(url, "");""",
    "an old request": """
        const request = new XMLHttpRequest(); request.open("POST", url, false); request.send();""",
    "an image": """
        await new Promise((done) => { const image = new Image(); image.onerror = done; image.src = url; });""",
    "a script": """
        await new Promise((done) => {
            const script = document.createElement("script"); script.onerror = done; script.src = url;
            document.head.append(script); });""",
    "a websocket": """
        const socket = new WebSocket(url.replace("http", "ws"));
        await new Promise((done) => { socket.onerror = done; });""",
    "a worker's fetch": """
        const work = `fetch("${url}", {method: "POST", mode: "no-cors"}).finally(() => postMessage(1))`;
        const worker = new Worker(URL.createObjectURL(new Blob([work])));
        await new Promise((done) => { worker.onmessage = done; });""",
}


@dataclass
class OtherSite:
    """A site that is not the store's: one empty page."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Win a prize</title><p>Click here</p>")

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def other_site() -> Iterator[OtherSite]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.05))
    thread.start()
    yield OtherSite(server.server_port)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def database(new_database: Callable[[str], Database]) -> Database:
    return new_database("postgresql")


@pytest.fixture(scope="module")
def shop(database: Database, public_folder: Path) -> Iterator[Serving]:
    with serving(public_folder, "--crash-endpoint", WIDGET_STORE_DATABASE_URL=database.url) as store:
        yield store


def sold_and_alive(shop: Serving, books: Books) -> tuple[object, int]:
    """What another site must not change: which workflows there are, and which process serves."""
    return books.system("SELECT workflow_uuid FROM {dbos}workflow_status ORDER BY 1"), shop.worker().pid


@pytest.mark.parametrize("way", TRIES)
def test_a_page_of_another_site_can_do_nothing(
    page: Page, shop: Serving, books: Books, other_site: OtherSite, way: str
) -> None:
    books.set_inventory(5)
    before = sold_and_alive(shop, books)
    for path in (f"/checkout/{new_key()}", "/restock", "/crash_application"):
        page.goto(other_site.url)
        with _answered(page, f"{shop.url}{path}"), contextlib.suppress(Error):  # the script may well be told no
            page.evaluate(f"async (url) => {{ {TRIES[way]} }}", f"{shop.url}{path}")
    assert sold_and_alive(shop, books) == before
    assert shop.inventory() == 5


@contextlib.contextmanager
def _answered(page: Page, address: str) -> Iterator[None]:
    """A block in which the page sends a request there. It lasts until that is answered, or the browser refuses it."""
    ended: list[str] = []
    note = lambda request: ended.append(request.url)  # noqa: E731 - to be taken off again
    page.context.on("requestfinished", note)
    page.context.on("requestfailed", note)
    page.once("websocket", lambda socket: ended.append(socket.url.replace("ws", "http", 1)))
    yield
    deadline = time.monotonic() + PATIENCE_SECONDS
    while address not in ended:
        assert time.monotonic() < deadline, f"the page has sent no request: {ended}"
        page.wait_for_timeout(20)
    page.context.remove_listener("requestfinished", note)
    page.context.remove_listener("requestfailed", note)


def test_the_store_s_own_page_can_do_all_this(page: Page, shop: Serving, books: Books) -> None:
    """Otherwise the tests above would pass of a store that refuses everybody."""
    books.set_inventory(5)
    page.goto(f"{shop.url}/")
    key = new_key()
    ask = "async (path) => (await fetch(path, {method: 'POST'})).status"
    assert page.evaluate(ask, f"/checkout/{key}") == 200
    assert page.evaluate(ask, f"/payment_webhook/{key}/failed") == 200
    assert page.evaluate(ask, "/restock") == 200
    worker = shop.worker().pid
    with contextlib.suppress(Exception):
        page.evaluate(ask, "/crash_application")
    assert shop.worker().pid != worker


def test_no_other_page_can_show_the_store_under_a_button_of_its_own(
    page: Page, shop: Serving, books: Books, other_site: OtherSite
) -> None:
    before = sold_and_alive(shop, books)
    page.goto(other_site.url)
    framed = """(url) => new Promise((done) => {
        const frame = document.createElement("iframe");
        frame.style = "position: absolute; inset: 0; width: 900px; height: 900px; opacity: 0.01";
        frame.onload = () => done(); frame.src = url; document.body.append(frame); })"""
    page.evaluate(framed, f"{shop.url}/")
    inside = page.frames[-1]
    assert inside is not page.main_frame
    expect(inside.locator("#buy")).to_have_count(0)
    for place in range(100, 900, 100):
        page.mouse.click(place, place)
    assert sold_and_alive(shop, books) == before


@pytest.mark.parametrize("element", ["object", "embed"])
def test_nor_can_it_be_embedded(page: Page, shop: Serving, other_site: OtherSite, element: str) -> None:
    page.goto(other_site.url)
    page.evaluate(
        """([element, url]) => { const made = document.createElement(element);
        made[element === "object" ? "data" : "src"] = url; made.type = "text/html"; document.body.append(made); }""",
        [element, f"{shop.url}/"],
    )
    page.wait_for_load_state("networkidle")
    assert [frame for frame in page.frames if frame.locator("#buy").count()] == []


def test_a_window_that_another_page_opens_tells_it_nothing(page: Page, shop: Serving, other_site: OtherSite) -> None:
    page.goto(other_site.url)
    read = """(url) => new Promise((done) => {
        const shop = window.open(url);
        const look = () => { try { done(shop.document.title); } catch (refused) { done(refused.name); } };
        setTimeout(function wait() {
            try { if (shop.location.href === "about:blank") { setTimeout(wait, 20); return; } } catch { }
            look(); }, 20); })"""
    assert page.evaluate(read, f"{shop.url}/") == "SecurityError"


def test_an_answer_can_not_be_read_by_another_page(page: Page, shop: Serving, other_site: OtherSite) -> None:
    page.goto(other_site.url)
    read = "(url) => fetch(url).then((answer) => answer.text(), (refused) => refused.name)"
    assert page.evaluate(read, f"{shop.url}/orders") == "TypeError"


def test_a_host_name_of_another_site_that_leads_here_is_refused(page: Page, shop: Serving, books: Books) -> None:
    """DNS rebinding: for the browser, store and page are one origin. Only the name in the request tells them apart."""
    before = sold_and_alive(shop, books)
    answer = page.goto(f"http://{REBOUND}:{shop.port}/")
    assert answer is not None
    assert answer.status == 403
    ask = "async (path) => (await fetch(path, {method: 'POST'})).status"
    assert [page.evaluate(ask, path) for path in (f"/checkout/{new_key()}", "/crash_application")] == [403, 403]
    assert sold_and_alive(shop, books) == before
