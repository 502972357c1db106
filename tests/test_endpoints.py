"""The HTTP interface, over HTTP, on a served store: once on PostgreSQL, once on SQLite."""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from tests.support import (
    CANCELLED,
    DISPATCHED,
    PAID,
    PATIENCE_SECONDS,
    PENDING,
    Books,
    Serving,
    eventually,
    new_key,
    serving,
)
from widget_store.databases import Database
from widget_store.endpoints import Line
from widget_store.middleware import SameOriginOnly
from widget_store.schema import FULL_SHELF, PRODUCT_ID

SECRET = "a-secret-for-tests"  # noqa: S105 - it protects nothing

SLOW_APP = """
from functools import partial

from dbos import DBOS
from widget_store.serving import server
from widget_store.endpoints import create_app
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS

server.create_app = partial(create_app, answer_within=0.3)  # a store with little patience


@DBOS.workflow()
def checkout_workflow(key: str) -> None:
    DBOS.recv("go on", timeout_seconds=3600)
    DBOS.set_event(PAYMENT_ID, key)
    DBOS.recv(PAYMENT_STATUS, timeout_seconds=3600)
    DBOS.recv("go on", timeout_seconds=3600)
    DBOS.set_event(ORDER_ID, "1")
"""

RAISING_APP = """
from dbos import DBOS
from widget_store.transactions import create_order


@DBOS.workflow()
def checkout_workflow(key: str) -> None:
    create_order()
    raise ZeroDivisionError("the widget machine is on fire")
"""

SILENT_APP = """
from dbos import DBOS
from widget_store.transactions import create_order


@DBOS.workflow()
def checkout_workflow(key: str) -> None:
    create_order()
"""


@pytest.fixture(scope="module")
def impatient(new_database: Callable[[str], Database], public_folder: Path) -> Iterator[Serving]:
    """A store whose customers have half a second to pay."""
    url = new_database("postgresql").url
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=url, WIDGET_STORE_PAYMENT_TIMEOUT="0.5") as store:
        yield store


@pytest.fixture(scope="module")
def signed(new_database: Callable[[str], Database], public_folder: Path) -> Iterator[Serving]:
    """A store that takes only signed payments, and has no crash endpoint."""
    url = new_database("sqlite").url
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=url, WIDGET_STORE_WEBHOOK_SECRET=SECRET) as store:
        yield store


@pytest.fixture
def serving_app(
    new_database: Callable[[str], Database], public_folder: Path, tmp_path: Path
) -> Iterator[Callable[[str], Serving]]:
    """Serves a learner's file, given as text."""
    with contextlib.ExitStack() as running:

        def serve(source: str) -> Serving:
            app = tmp_path / "learner.py"
            app.write_text(source)
            url = new_database("sqlite").url
            return running.enter_context(serving(public_folder, "--app", str(app), WIDGET_STORE_DATABASE_URL=url))

        yield serve


def signature(message: str) -> str:
    return hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).hexdigest()


def test_the_root_is_the_storefront(store: Serving) -> None:
    answer = store.client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_the_product_is_told_with_its_stock_and_its_price(store: Serving) -> None:
    product = store.client.get("/product").json()
    assert product.keys() == {"product_id", "product", "description", "inventory", "price"}
    assert (product["product_id"], product["price"]) == (PRODUCT_ID, 99.99)
    assert 0 < product["inventory"] <= FULL_SHELF


def test_a_healthy_store_says_so(store: Serving) -> None:
    answer = store.client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["executor_id"] == "worker-1"


def test_a_checkout_answers_its_payment_id_and_takes_one_widget(store: Serving) -> None:
    stock, key = store.inventory(), new_key()
    answer = store.buy(key)
    assert (answer.status_code, answer.text) == (200, key)
    assert answer.headers["content-type"].startswith("text/plain")
    assert store.inventory() == stock - 1


def test_a_paid_order_is_dispatched_in_ten_steps(store: Serving) -> None:
    order_id = store.sell(new_key())
    eventually(lambda: store.order_status(order_id) == DISPATCHED, "the dispatch")
    assert store.client.get(f"/order/{order_id}").json()["progress_remaining"] == 0


def test_an_order_has_the_fields_that_are_promised(store: Serving) -> None:
    order_id = store.sell(new_key())
    order = store.client.get(f"/order/{order_id}").json()
    assert order.keys() == {
        "order_id",
        "order_status",
        "last_update_time",
        "product_id",
        "progress_remaining",
    }
    assert order["order_status"] in {PAID, DISPATCHED}
    assert (order["order_id"], order["product_id"]) == (order_id, PRODUCT_ID)


def test_the_time_of_an_order_is_utc(store: Serving) -> None:
    order = store.client.get(f"/order/{store.sell(new_key())}").json()
    assert order["last_update_time"].endswith("Z")
    changed = datetime.fromisoformat(order["last_update_time"])
    assert abs(datetime.now(UTC) - changed) < timedelta(minutes=30)


def test_a_declined_payment_gives_the_widget_back(store: Serving) -> None:
    stock = store.inventory()
    order_id = store.sell(new_key(), "failed")
    assert store.order_status(order_id) == CANCELLED
    assert store.inventory() == stock


def test_the_same_key_again_is_the_same_order(store: Serving) -> None:
    stock, key = store.inventory(), new_key()
    assert {store.buy(key).text for _ in range(3)} == {key}
    assert store.inventory() == stock - 1
    assert store.pay(key).text == store.pay(key).text
    assert store.buy(key).text == key


def test_a_double_click_of_sixteen_threads_is_one_order(store: Serving, books: Books) -> None:
    stock, key = store.inventory(), new_key()
    ((orders_before,),) = books.store("SELECT count(*) FROM orders")
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(store.buy, [key] * 16))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, key)}
    assert store.inventory() == stock - 1
    assert books.store("SELECT count(*) FROM orders") == [(orders_before + 1,)]


def test_of_sixteen_buyers_of_the_last_widget_exactly_one_gets_it(store: Serving, books: Books) -> None:
    books.set_inventory(1)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(store.buy, [new_key() for _ in range(16)]))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 15
    assert store.inventory() == 0
    (winner,) = (answer.text for answer in answers if answer.status_code == 200)
    assert store.pay(winner).status_code == 200
    assert books.violations() == []


def test_without_stock_a_checkout_is_refused_and_its_order_cancelled(store: Serving, books: Books) -> None:
    books.set_inventory(0)
    key = new_key()
    assert [store.buy(key).status_code for _ in range(2)] == [409, 409]
    assert "Out of stock" in store.buy(key).json()["detail"]
    assert store.client.get("/orders", params={"limit": 1}).json()[0]["order_status"] == CANCELLED
    assert store.inventory() == 0


def test_a_payment_for_what_was_out_of_stock_is_refused(store: Serving, books: Books) -> None:
    books.set_inventory(0)
    key = new_key()
    store.buy(key)
    assert store.pay(key).status_code == 409


def test_after_a_restock_widgets_are_sold_again(store: Serving, books: Books) -> None:
    books.set_inventory(0)
    assert store.buy(new_key()).status_code == 409
    assert store.client.post("/restock").json() == {"added": FULL_SHELF}
    assert store.buy(new_key()).status_code == 200


def test_a_restock_counts_the_widgets_that_pending_orders_may_give_back(store: Serving) -> None:
    keys = [new_key() for _ in range(3)]
    for key in keys:
        store.buy(key)
    assert store.client.post("/restock").json() == {"added": 0}
    assert store.inventory() == FULL_SHELF - 3
    for key in keys:
        store.pay(key, "failed")
    assert store.inventory() == FULL_SHELF


def test_a_paid_widget_is_restocked(store: Serving) -> None:
    store.sell(new_key())
    assert store.client.post("/restock").json() == {"added": 1}
    assert store.inventory() == FULL_SHELF


@pytest.mark.parametrize("status", ["paid", "failed"])
def test_a_payment_reported_again_gets_the_same_answer(store: Serving, status: str) -> None:
    key = new_key()
    store.buy(key)
    stock_before = store.inventory()
    answers = [store.pay(key, status) for _ in range(3)]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1
    assert store.inventory() == stock_before + (status == "failed")


@pytest.mark.parametrize(("first", "then"), [("paid", "failed"), ("failed", "paid")])
def test_a_payment_reported_the_other_way_is_refused(store: Serving, first: str, then: str) -> None:
    key = new_key()
    order_id = store.sell(key, first)
    answer = store.pay(key, then)
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(f"Order {order_id} ")
    assert ("is paid" if first == "paid" else "cancelled") in answer.json()["detail"]
    assert store.pay(key, first).text == str(order_id)


def test_sixteen_reports_of_one_payment_are_one_payment(store: Serving) -> None:
    key = new_key()
    store.buy(key)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: store.pay(key), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_of_contradicting_reports_one_wins(store: Serving) -> None:
    key = new_key()
    store.buy(key)
    reports = ["paid", "failed"] * 4
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda status: (status, store.pay(key, status).status_code), reports))
    believed = {status for status, code in answers if code == 200}
    assert len(believed) == 1
    assert {status for status, code in answers if code == 409} == {"paid", "failed"} - believed


def test_a_key_that_looks_like_the_child_of_another_does_not_stop_its_dispatch(store: Serving) -> None:
    key = new_key()
    for number in range(1, 12):  # DBOS calls a child workflow after its parent and the number of the step
        assert store.buy(f"{key}-{number}").status_code == 200
    order_id = store.sell(key)
    eventually(lambda: store.order_status(order_id) == DISPATCHED, "the dispatch")
    for number in range(1, 12):
        assert store.pay(f"{key}-{number}", "failed").status_code == 200


def test_an_unknown_payment_is_not_found(store: Serving) -> None:
    assert store.pay(new_key()).status_code == 404


def test_a_dispatch_is_no_payment_and_has_an_id_that_no_key_can_be(store: Serving, books: Books) -> None:
    store.sell(new_key())
    dispatch = "SELECT workflow_uuid FROM {dbos}workflow_status WHERE name = 'dispatch_order_workflow' LIMIT 1"
    ((workflow_id,),) = books.system(dispatch)
    assert store.pay(workflow_id).status_code == 422
    assert store.buy(workflow_id).status_code == 422


@pytest.mark.parametrize("key", ["a" * 65, "a b", "a.b", "ä", "a%2Fb", "a/b", "%00", "'; DROP TABLE orders; --"])
def test_a_malformed_key_is_refused(store: Serving, key: str) -> None:
    assert store.buy(key).status_code == 422


@pytest.mark.parametrize("key", ["a", "A-b_9"])
def test_a_key_may_have_letters_digits_and_two_signs(store: Serving, key: str) -> None:
    assert store.buy(key).text == key


@pytest.mark.parametrize("status", ["PAID", "refunded", "paid2"])
def test_any_other_status_of_a_payment_is_refused(store: Serving, status: str) -> None:
    key = new_key()
    store.buy(key)
    assert store.pay(key, status).status_code == 422
    assert store.pay(key).status_code == 200


def test_an_unknown_order_is_not_found(store: Serving) -> None:
    assert store.client.get("/order/2000000000").status_code == 404


@pytest.mark.parametrize("order_id", ["0", "-1", "one", str(2**31), str(2**70)])
def test_what_is_no_order_id_is_refused(store: Serving, order_id: str) -> None:
    assert store.client.get(f"/order/{order_id}").status_code == 422


@pytest.mark.parametrize("one", ["1_0", "+1", "%201", "1%20", "01", "1.0", "1e0", "0x1", "%D9%A1", "%EF%BC%91"])
def test_a_number_is_written_in_digits_and_in_one_way(store: Serving, one: str) -> None:
    store.sell(new_key(), "failed")
    for path in (f"/order/{one}", f"/orders?limit={one}", f"/orders?before={one}"):
        assert store.client.get(path).status_code == 422


def test_orders_come_newest_first_page_by_page(store: Serving) -> None:
    sold = [store.sell(new_key(), "failed") for _ in range(5)]
    first = store.client.get("/orders", params={"limit": 2}).json()
    then = store.client.get("/orders", params={"limit": 3, "before": first[-1]["order_id"]}).json()
    assert [order["order_id"] for order in first + then] == sold[::-1]
    assert store.client.get("/orders", params={"before": 1}).json() == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=all", "before=0", "before=x"])
def test_a_page_that_can_not_be_is_refused(store: Serving, query: str) -> None:
    assert store.client.get(f"/orders?{query}").status_code == 422


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::2]", ""])
def test_a_foreign_host_is_refused(store: Serving, host: str) -> None:
    for method, path in [("GET", "/orders"), ("POST", f"/checkout/{new_key()}")]:
        assert store.client.request(method, path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_names_of_this_machine_are_answered(store: Serving, host: str) -> None:
    assert store.client.get("/product", headers={"Host": f"{host}:{store.port}"}).status_code == 200


@pytest.mark.parametrize(
    ("listens_on", "asked_as", "status"),
    [
        ("fe80::1", "[fe80::1]:8000", 200),
        ("FD00:0::A", "[fd00::a]", 200),
        ("fd00::a", "[FD00:0:0:0:0:0:0:A]:8000", 200),
        ("fe80::1%eth0", "[fe80::1]:8000", 200),
        ("MyBox.local", "mybox.local:8000", 200),
        ("fe80::1", "[fe80::2]:8000", 403),
        ("mybox.local", "otherbox.local", 403),
    ],
)
def test_the_address_that_serve_was_given_is_answered(listens_on: str, asked_as: str, status: int) -> None:
    app = SameOriginOnly(PlainTextResponse("an answer"), frozenset({listens_on}))

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://store") as client:
            return (await client.get("/", headers={"Host": asked_as})).status_code

    assert asyncio.run(ask()) == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "", "http://"])
def test_an_order_from_another_web_site_is_refused(store: Serving, origin: str) -> None:
    stock = store.inventory()
    answer = store.client.post(f"/checkout/{new_key()}", headers={"Origin": origin})
    assert answer.status_code == 403
    assert store.inventory() == stock


def test_an_order_from_the_store_s_own_page_is_taken(store: Serving) -> None:
    answer = store.client.post(f"/checkout/{new_key()}", headers={"Origin": store.url})
    assert answer.status_code == 200


@pytest.mark.slow("starts a store, once")
def test_an_unsigned_or_wrongly_signed_payment_changes_nothing(signed: Serving) -> None:
    key = new_key()
    signed.buy(key)
    stock = signed.inventory()
    right = signature(f"{key}/paid")
    wrong = [
        *("", "00", "é", right[:-1], right + "0", right.upper(), f"{right} x", f"sha256={right}"),
        *map(signature, (f"{key}/failed", f"{new_key()}/paid", key, f"{key}/paid\n")),
        hmac.new(b"", f"{key}/paid".encode(), hashlib.sha256).hexdigest(),
        hashlib.sha256(f"{SECRET}{key}/paid".encode()).hexdigest(),
    ]
    refused = [signed.pay(key)] + [
        signed.client.post(f"/payment_webhook/{key}/paid", headers={b"X-Widget-Signature": text.encode()})
        for text in wrong
    ]
    assert {answer.status_code for answer in refused} == {401}
    order = signed.client.get("/orders", params={"limit": 1}).json()[0]
    assert (order["order_status"], signed.inventory()) == (PENDING, stock)


@pytest.mark.slow("starts a store, once")
@pytest.mark.parametrize("status", ["paid", "failed"])
def test_a_signed_payment_is_taken_and_its_replay_changes_nothing(signed: Serving, status: str) -> None:
    key = new_key()
    signed.buy(key)
    answers = [signed.pay(key, status, **{"X-Widget-Signature": signature(f"{key}/{status}")}) for _ in range(3)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}


@pytest.mark.slow("starts a store, once")
def test_without_the_flag_there_is_no_way_to_crash_a_store_over_http(signed: Serving) -> None:
    assert signed.client.post("/crash_application").status_code == 404
    assert signed.client.get("/healthz").json()["crash_endpoint"] is False


@pytest.mark.slow("starts a store, once, and waits for its payment timeout")
def test_a_payment_after_the_timeout_is_refused(impatient: Serving) -> None:
    key = new_key()
    impatient.buy(key)
    newest = {"limit": 1}
    eventually(
        lambda: impatient.client.get("/orders", params=newest).json()[0]["order_status"] == CANCELLED,
        "the end of the wait for a payment",
    )
    answer = impatient.pay(key)
    assert (answer.status_code, "cancelled" in answer.json()["detail"]) == (409, True)
    assert impatient.pay(key, "failed").status_code == 200
    assert impatient.inventory() == FULL_SHELF


@pytest.mark.slow("starts a store, and waits for its answers of 504")
def test_a_slow_workflow_is_told_from_one_without_stock(serving_app: Callable[[str], Serving]) -> None:
    store, key = serving_app(SLOW_APP), new_key()
    answer = store.buy(key)
    assert (answer.status_code, "same key" in answer.json()["detail"]) == (504, True)
    assert store.pay(key).status_code == 504


@pytest.mark.slow("starts a store")
def test_a_workflow_that_has_ended_without_a_word_is_told(serving_app: Callable[[str], Serving]) -> None:
    store, key = serving_app(SILENT_APP), new_key()
    for answer, event in ((store.buy(key), "payment_id"), (store.pay(key), "order_id")):
        assert (answer.status_code, f"never published the event '{event}'" in answer.text) == (500, True), answer.text


@pytest.mark.slow("starts a store")
def test_a_none_that_was_published_is_told_from_an_event_that_was_not(serving_app: Callable[[str], Serving]) -> None:
    nothing_to_pay = SILENT_APP + "    DBOS.set_event('payment_id', None)\n"
    no_order = nothing_to_pay + "    DBOS.set_event('order_id', None)\n"
    for app, says in (
        (nothing_to_pay, "never published the event 'order_id'"),
        (no_order, "published None as the event 'order_id'"),
    ):
        store, key = serving_app(app), new_key()
        for answer in (store.buy(key), store.pay(key)):
            assert (answer.status_code, says in answer.text) == (500, True), answer.text


@pytest.mark.slow("starts a store")
def test_a_workflow_that_raises_is_told_with_its_reason(serving_app: Callable[[str], Serving]) -> None:
    store, key = serving_app(RAISING_APP), new_key()
    for answer in (store.buy(key), store.buy(key), store.pay(key)):
        assert (answer.status_code, "on fire" in answer.text) == (500, True), answer.text


def test_a_crash_endpoint_ends_the_process_without_an_answer(store: Serving) -> None:
    before = store.worker()
    with pytest.raises(httpx.TransportError):
        store.client.post("/crash_application")
    assert store.worker() != before


def test_what_is_no_crash_point_is_refused_with_an_example(store: Serving) -> None:
    answer = store.client.post("/crash_application", params={"at": "lunch"})
    assert answer.status_code == 422
    assert "create_order/effect/before" in answer.json()["detail"]


def test_who_comes_first_is_served_first() -> None:
    served: list[int] = []

    async def come(line: Line, number: int) -> None:
        async with line.turn():
            await asyncio.sleep((16 - number) / 1000)  # whoever were let in meanwhile would be quicker
            served.append(number)

    async def all_come() -> None:
        line = Line(places=1, patience=PATIENCE_SECONDS)
        await asyncio.gather(*(come(line, number) for number in range(16)))

    asyncio.run(all_come())
    assert served == list(range(16))


def test_only_so_many_are_served_at_once() -> None:
    at_once: list[int] = []

    async def come(line: Line, inside: set[int], number: int) -> None:
        async with line.turn():
            inside.add(number)
            at_once.append(len(inside))
            await asyncio.sleep(0)
            inside.remove(number)

    async def all_come() -> None:
        line, inside = Line(places=2, patience=PATIENCE_SECONDS), set[int]()
        await asyncio.gather(*(come(line, inside, number) for number in range(16)))

    asyncio.run(all_come())
    assert max(at_once) == 2


def test_nobody_stands_in_line_behind_a_slow_checkout_for_good() -> None:
    async def three_come() -> None:
        line = Line(places=1, patience=0.01)
        async with line.turn(), asyncio.timeout(PATIENCE_SECONDS):  # and this one is not over before the others are
            for _ in range(2):
                async with line.turn():
                    pass

    asyncio.run(three_come())
