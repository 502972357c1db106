"""What holds for every request and answer: who may ask, what is no address, how long a connection may hold a place."""

import asyncio
import contextlib
import hashlib
import hmac
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from tests.support import PENDING, Books, Serving, eventually, new_key, serving, starting
from widget_store.databases import Database
from widget_store.middleware import guarded

HALF_OPEN = 600
MAY_OPEN = 256
TAKES_A_BODY = """
from fastapi import APIRouter, Request

router = APIRouter()


@router.post("/letter")
async def letter(request: Request) -> int:
    return len(await request.body())
"""
RULES = {
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/", None, 200),
        ("HEAD", "/", None, 200),
        ("GET", "/static/storefront.js", None, 200),
        ("GET", "/product", None, 200),
        ("GET", "/", "evil.example", 403),
        ("GET", "/nothing-here", None, 404),
        ("GET", "/static/nothing.js", None, 404),
        ("GET", "/checkout/a", None, 405),
        ("POST", "/checkout/a%0a", None, 422),
        ("GET", "/order/one", None, 422),
    ],
)
def test_every_answer_tells_the_browser_its_rules(
    store: Serving, method: str, path: str, host: str | None, status: int
) -> None:
    answer = store.client.request(method, path, headers={"Host": host} if host else {})
    assert answer.status_code == status
    assert [name for name, rule in RULES.items() if rule not in answer.headers.get(name, "")] == []
    assert "form-action 'self'" in answer.headers["content-security-policy"]


def test_what_is_given_up_tells_the_browser_its_rules_too() -> None:
    async def never(_scope: object, _receive: object, _send: object) -> None:
        await asyncio.Event().wait()

    answer = ask(guarded(never, hosts=None, within=0.01), "GET", "/")
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (503, "nosniff")


def test_behind_a_hub_only_its_own_pages_may_show_the_store() -> None:
    answer = ask(guarded(PlainTextResponse("an answer"), hosts=None, within=1), "GET", "/")
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


def ask(app: object, method: str, path: str) -> httpx.Response:
    """The answer of an application that nobody serves."""

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://store") as client:
            return await client.request(method, path)

    return asyncio.run(answer())


@pytest.mark.parametrize("path", ["/", "/product", "/orders", "/healthz", "/static/storefront.css"])
def test_head_is_get_without_a_body(store: Serving, path: str) -> None:
    head, get = store.client.head(path), store.client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_head_changes_nothing(store: Serving) -> None:
    assert store.client.head(f"/checkout/{new_key()}").status_code == 405


@pytest.mark.parametrize("path", ["/checkout/a%0a", "/checkout/a%0d", "/checkout/%00", "/checkout/a%1b", "/restock%0a"])
def test_no_control_character_is_part_of_an_address(store: Serving, books: Books, path: str) -> None:
    before = books.store("SELECT count(*) FROM orders"), store.inventory()
    assert store.client.post(path).status_code == 422
    assert (books.store("SELECT count(*) FROM orders"), store.inventory()) == before


@pytest.mark.parametrize("number", ["1_0", "+1", "%201", "1%20", "01", "1.0", "1e0", "0x1", "%D9%A1", "%EF%BC%91"])
def test_a_number_is_written_in_digits_and_in_one_way(store: Serving, number: str) -> None:
    store.sell(new_key(), "failed")
    assert [store.client.get(path).status_code for path in (f"/order/{number}", f"/orders?limit={number}")] == [
        422,
        422,
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../endpoints.py",
        "/static/%2e%2e/endpoints.py",
        "/static/..%2fendpoints.py",
        "/static/%2e%2e%2fendpoints.py",
        "/static/..%5cendpoints.py",
        "/static/....//endpoints.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/index.html/../../settings.py",
        "/../../etc/passwd",
        "/static/%252e%252e/endpoints.py",
    ],
)
def test_no_address_leads_out_of_the_storefront_s_folder(store: Serving, path: str) -> None:
    answer = raw(store.port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert answer.split()[1] == b"404"
    assert b"import" not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "request_",
    [
        "nonsense\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        "POST /checkout/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        "POST /checkout/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {'x' * 200_000}\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_the_store_goes_on(store: Serving, request_: str) -> None:
    worker = store.worker()
    assert raw(store.port, request_).split()[1:2] in ([b"400"], [b"403"])
    assert store.worker() == worker


def raw(port: int, request: str) -> bytes:
    """What comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with contextlib.suppress(ConnectionError):  # it need not be read to its end
            connection.sendall(request.encode("latin-1"))
        told = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                told += part
                if b"\r\n\r\n" in told:
                    break
        return told


SECRET = "the secret of a payment provider"  # noqa: S105 - it protects nothing


@pytest.mark.slow("starts a store")
def test_no_forged_signature_passes_and_a_replay_changes_nothing(
    new_database: Callable[[str], Database], public_folder: Path
) -> None:
    database = new_database("sqlite")
    settings = {"WIDGET_STORE_DATABASE_URL": database.url, "WIDGET_STORE_WEBHOOK_SECRET": SECRET}
    with serving(public_folder, **settings) as store:
        mine, another = new_key(), new_key()
        store.buy(mine), store.buy(another)
        right = signed(f"{mine}/paid")
        forged = [
            *("", "0", "é", right[:-1], right + "0", right.upper(), f"{right} x", "sha256=" + right),
            signed(f"{mine}/failed"),
            signed(f"{another}/paid"),
            signed(mine),
            signed(f"{mine}/paid\n"),
            hmac.new(b"", f"{mine}/paid".encode(), hashlib.sha256).hexdigest(),
            hashlib.sha256(f"{SECRET}{mine}/paid".encode()).hexdigest(),
        ]
        answers = [
            store.client.post(f"/payment_webhook/{mine}/paid", headers={b"X-Widget-Signature": text.encode()})
            for text in forged
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert store.client.get("/orders").json()[-1]["order_status"] == PENDING

        paid = [store.pay(mine, **{"X-Widget-Signature": right}) for _ in range(3)]  # a signature has no time in it
        assert {(answer.status_code, answer.text) for answer in paid} == {(200, paid[0].text)}
        store.pay(another, "failed", **{"X-Widget-Signature": signed(f"{another}/failed")})
        assert Books(database).violations() == []


def signed(message: str) -> str:
    return hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def _may_open_many() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * HALF_OPEN)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.thorough("starts a store, which may open few files, and 600 connections")
@pytest.mark.usefixtures("_may_open_many")
@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET /product HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        b"POST /letter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nDear",
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_half_open_connections_keep_nobody_out(
    new_database: Callable[[str], Database], public_folder: Path, tmp_path: Path, half: bytes
) -> None:
    (app := tmp_path / "letters.py").write_text(TAKES_A_BODY)
    few_files = ["prlimit", f"--nofile={MAY_OPEN}", "--"]
    url = new_database("sqlite").url
    with (
        starting(public_folder, "--app", str(app), within=few_files, WIDGET_STORE_DATABASE_URL=url) as store,
        contextlib.ExitStack() as held,
    ):
        eventually(store.is_ready, "a store that is ready")
        for _ in range(HALF_OPEN):
            connection = held.enter_context(contextlib.closing(socket.socket()))
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", store.port))
            with contextlib.suppress(OSError):
                connection.send(half)
        eventually(lambda: answers(store.port), "an answer for somebody who asks properly")


def answers(port: int) -> bool:
    """Whether somebody is answered, on a new connection."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/product", timeout=5).status_code == 200
    return False
