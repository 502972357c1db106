"""The payment provider: a process of its own, how it can fail, and what its log says."""

import contextlib
import threading
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.support import PATIENCE_SECONDS, eventually, new_key
from widget_store.errors import StoreDidNotStart
from widget_store.lab import Provider, ProviderPanel, Store

pytestmark = pytest.mark.slow("starts the provider, and some of them a store")

CHARGES = """
import os

import httpx
from dbos import DBOS

from widget_store.transactions import create_order, mark_order_paid
from widget_store.workflows import ORDER_ID, PAYMENT_ID

provider = httpx.Client(base_url=os.environ["PROVIDER_URL"], trust_env=False)


@DBOS.step()
def charge(key):
    provider.post("/charges", json={"order": key})


@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    DBOS.set_event(PAYMENT_ID, key)
    charge(key)
    mark_order_paid(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
"""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def http(provider: Provider) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=provider.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        yield client


def ask(http: httpx.Client, what: str, order: str, key: str = "") -> int:
    headers = {"Idempotency-Key": key} if key else {}
    return http.post(f"/{what}s", json={"order": order}, headers=headers).status_code


def column(provider: Provider, name: str) -> list[str]:
    return list(provider.log()[name])


def test_it_takes_the_money_at_each_charge(provider: Provider, http: httpx.Client) -> None:
    assert [ask(http, "charge", "anna") for _ in range(2)] == [200, 200]
    assert column(provider, "money") == ["taken", "taken"]


def test_a_key_that_it_knows_takes_nothing_again(provider: Provider, http: httpx.Client) -> None:
    first, again = (http.post("/charges", json={"order": "anna"}, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == again.json()
    assert ask(http, "charge", "anna", "another") == 200
    assert column(provider, "money") == ["taken", "", "taken"]
    assert column(provider, "idempotency key") == ["k", "k", "another"]


def test_a_refund_gives_everything_back_and_nothing_is_taken_after_it(provider: Provider, http: httpx.Client) -> None:
    for _ in range(2):
        ask(http, "charge", "anna")
    ask(http, "refund", "anna")
    ask(http, "refund", "anna")
    assert ask(http, "charge", "anna") == 409
    assert ask(http, "charge", "bert") == 200
    assert column(provider, "money") == ["taken", "taken", "given back, 2 times", "", "", "taken"]


@pytest.mark.parametrize(("how", "status"), [("down", 503), ("refuse", 402)])
def test_it_says_no_as_often_as_it_was_told_and_takes_nothing(
    provider: Provider, http: httpx.Client, how: str, status: int
) -> None:
    provider.behave(how, times=2)
    assert [ask(http, "charge", "anna") for _ in range(3)] == [status, status, 200]
    assert column(provider, "money") == ["", "", "taken"]
    assert provider.behaviour == "well"


def test_it_is_well_for_what_it_was_not_told_about(provider: Provider, http: httpx.Client) -> None:
    provider.behave("down", only="refund")
    assert ask(http, "charge", "anna") == 200
    assert ask(http, "refund", "anna") == 503


def test_a_lost_answer_is_a_cut_connection_and_the_money_is_taken(provider: Provider, http: httpx.Client) -> None:
    provider.behave("lose the answer", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(http, "charge", "anna")
    assert ask(http, "charge", "anna") == 200
    assert column(provider, "answer") == ["none", "200"]
    assert column(provider, "money") == ["taken", "taken"]


def test_a_slow_answer_that_nobody_waits_for_is_answered_to_nobody(provider: Provider, http: httpx.Client) -> None:
    provider.behave("slow", seconds=0.5)
    with pytest.raises(httpx.ReadTimeout):
        http.post("/charges", json={"order": "anna"}, timeout=0.1)
    assert list(provider.log(settled=False)["answer"]) == ["…"]
    assert column(provider, "answer") == ["none"]
    assert column(provider, "money") == ["taken"]


def test_it_knows_no_other_behaviour(provider: Provider) -> None:
    with pytest.raises(ValueError, match="drunk"):
        provider.behave("drunk")


def test_another_web_site_can_not_make_a_browser_charge(provider: Provider, http: httpx.Client) -> None:
    foreign = http.post("/charges", json={"order": "anna"}, headers={"Origin": "http://elsewhere.example"})
    rebound = http.post("/charges", json={"order": "anna"}, headers={"Host": "elsewhere.example"})
    assert [foreign.status_code, rebound.status_code] == [403, 403]
    assert len(provider.log()) == 0


def test_who_asks_a_closed_one_is_told_what_to_do() -> None:
    provider = Provider()
    provider.close()
    provider.close()
    assert not provider.is_open()
    with pytest.raises(StoreDidNotStart, match="Run the cell that started it again"):
        provider.log()


def test_a_kernel_has_one_and_another_takes_its_place() -> None:
    first = Provider.fresh()
    with Provider.fresh() as second:
        assert not first.is_open()
        assert second.is_open()


def test_one_that_dies_is_noticed(provider: Provider) -> None:
    port = int(provider.url.rpartition(":")[2])
    listening = [each for each in psutil.net_connections("tcp4") if each.status == psutil.CONN_LISTEN]
    (pid,) = (each.pid for each in listening if each.laddr and each.laddr.port == port)
    psutil.Process(pid).kill()
    eventually(lambda: not provider.is_open(), "the provider's death to be noticed")
    with pytest.raises(StoreDidNotStart, match="closed"):
        provider.behave("down")


# --- with a store


@pytest.fixture(scope="module")
def app(public_folder: object) -> str:
    file = f"{public_folder}/charges_{new_key()}.py"
    with open(file, "w", encoding="utf-8") as written:  # noqa: PTH123 - a text's name
        written.write(CHARGES)
    return file


@pytest.fixture
def shop(provider: Provider, app: str, monkeypatch: pytest.MonkeyPatch, public_folder: object) -> Iterator[Store]:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{public_folder}/{new_key()}.sqlite")
    with Store.fresh(app, provider=provider) as store:
        yield store


def status_of(store: Store, key: str) -> str:
    found = store.state.client.list_workflows(workflow_ids=[key])
    return found[0].status if found else ""


def test_its_log_survives_the_store_and_has_what_no_checkpoint_tells(provider: Provider, shop: Store) -> None:
    shop.crash(at="*/*.charge/body/after")
    shop.buy("anna")
    eventually(lambda: status_of(shop, "anna") == "SUCCESS", "the end of the checkout")
    assert column(provider, "money") == ["taken", "taken"]
    assert list(shop.state.steps("anna")["what"]).count("charge") == 1


def test_it_reports_a_payment_twice_and_the_store_takes_it_once(provider: Provider, shop: Store) -> None:
    provider.reports_to(shop)
    provider.behave("answer twice", times=1)
    shop.buy("anna")
    eventually(lambda: len(provider.log()) == 3, "two reports")
    assert column(provider, "what") == ["charge", "report", "report"]
    assert column(provider, "answer") == ["200", "200", "200"]
    messages = shop.state.query("SELECT count(*) AS n FROM dbos.notifications WHERE destination_uuid = 'anna'")
    assert list(messages["n"]) == [1]


def test_a_report_that_no_store_hears_is_answered_by_nobody(provider: Provider, http: httpx.Client) -> None:
    provider._tell("webhook", "http://127.0.0.1:9")  # noqa: SLF001 - where nobody is
    provider.behave("answer twice", times=1)
    assert ask(http, "charge", "anna") == 200
    assert column(provider, "answer") == ["200", "none", "none"]


def test_the_panel_shows_both_records(provider: Provider, shop: Store) -> None:
    panel = ProviderPanel(provider, shop)
    panel.unless_you_did("down", "buy")
    eventually(lambda: status_of(shop, "customer-1") == "SUCCESS", "the end of the checkout")
    panel.refresh()
    assert "<td>503</td>" in panel.requests.value
    assert "<td>mark_order_paid</td>" in panel.steps.value
    assert "customer-1, SUCCESS" in panel.steps.value
    assert "<b>down</b>" in panel.process.value
    panel.crash.click()
    assert "You killed the store" in panel.message.value
    shop.wait_until_back()


def test_clicks_of_a_learner_are_not_made_again(provider: Provider, shop: Store) -> None:
    panel = ProviderPanel(provider, shop)
    panel.buy.click()
    panel.unless_you_did("buy")
    panel.unless_you_did("buy")
    assert panel.shopper.clicks == ["buy", "buy"]
    assert panel.shopper.key == "customer-2"


def test_the_panel_says_that_it_is_closed_and_tells_no_error(provider: Provider, shop: Store) -> None:
    panel = ProviderPanel(provider, shop)
    provider.close()
    panel.behaves[next(iter(panel.behaves))].click()
    assert "is closed" in panel.message.value
    panel.refresh()
    assert "closed" in panel.process.value
    assert panel.buy.disabled


def test_two_threads_may_ask_it_at_once(provider: Provider) -> None:
    def look() -> None:
        for _ in range(50):
            provider.log(settled=False)

    with contextlib.ExitStack() as all_end:
        for _ in range(3):
            thread = threading.Thread(target=look)
            thread.start()
            all_end.callback(thread.join)
    assert provider.behaviour == "well"
