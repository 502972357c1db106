"""The panels: clicks, and what they show."""

import re
import threading
from pathlib import Path

import ipywidgets as widgets
import pytest

from tests.support import eventually
from widget_store.lab import Lab, Store

pytestmark = pytest.mark.slow("each database has a store process of its own, which takes two seconds to start")


@pytest.fixture
def lab(store: Store) -> Lab:
    return Lab(store)


def test_a_purchase_by_clicks(lab: Lab) -> None:
    lab.buy.click()
    assert "Now pay, or decline." in lab.message.value
    lab.pay.click()
    assert re.search(r"You paid, and the store answered: order \d+", lab.message.value)
    assert f"Order {lab.customer.order_id}: " in lab.timeline.value
    lab.store.wait_until_dispatched(lab.customer.order_id or 0)
    lab.refresh()
    assert f"Order {lab.customer.order_id}: DISPATCHED" in lab.timeline.value
    assert "being dispatched" not in lab.message.value, "what a click is followed by stays true"


def test_a_second_click_on_buy_is_the_same_purchase(lab: Lab) -> None:
    lab.buy.click()
    payment_id = lab.customer.payment_id
    lab.buy.click()
    assert lab.customer.payment_id == payment_id
    lab.decline.click()
    assert "You declined" in lab.message.value


def test_a_crash_in_the_middle_by_clicks(lab: Lab) -> None:
    lab.buy.click()
    deaths = len(lab.store.deaths)
    lab.crash.click()
    assert len(lab.store.deaths) == deaths + 1
    lab.pay.click()
    lab.store.wait_until_dispatched(lab.customer.order_id or 0)
    lab.refresh()
    assert "One crash on the way" in lab.timeline.value


def test_a_crash_point_is_armed_by_choosing_it(lab: Lab) -> None:
    lab.when.value = "checkout_workflow/*.create_order/effect/after"
    lab.crash.click()
    assert "will die in create_order" in lab.message.value
    deaths = len(lab.store.deaths)
    lab.buy.click()
    lab.store.wait_until_back()
    assert len(lab.store.deaths) == deaths + 1
    lab.decline.click()


def test_a_panel_can_offer_crash_points_of_ones_own(store: Store) -> None:
    lab = Lab(store, points={"http/restock/effect/before": "in restock: before its commit"})
    assert [words for words, _ in lab.when.options] == ["now", "in restock: before its commit"]
    lab.when.value = "http/restock/effect/before"
    lab.crash.click()
    assert "will die in restock" in lab.message.value
    deaths = len(store.deaths)
    lab.restock.click()
    store.wait_until_back()
    assert len(store.deaths) == deaths + 1


def test_a_payment_that_was_refused_was_a_click_all_the_same(lab: Lab) -> None:
    lab.buy.click()
    lab.customer.payment_id = "never-bought"
    lab.pay.click()
    lab.unless_you_did("buy", "pay")
    assert (lab.customer.purchases, lab.customer.payments) == (1, 1)


def test_paying_without_buying_is_explained(lab: Lab) -> None:
    lab.pay.click()
    assert "buy a widget first" in lab.message.value


def test_a_refusal_is_shown_where_the_learner_looks(lab: Lab) -> None:
    lab.customer.payment_id = "never-bought"
    lab.pay.click()
    assert 'role="alert"' in lab.message.value
    assert "There is no payment with this id." in lab.message.value
    assert lab.customer.payment_id is None, "a payment that was refused does not block the next purchase"


def test_a_purchase_that_could_not_be_settled_yet_waits_for_its_payment(lab: Lab) -> None:
    lab.buy.click()
    payment_id = lab.customer.payment_id
    lab.store.stop()
    lab.pay.click()
    assert 'role="alert"' in lab.message.value
    assert lab.customer.payment_id == payment_id
    lab.store.start()
    lab.pay.click()
    assert "You paid, and the store answered: order" in lab.message.value


def test_an_error_in_a_handler_is_shown_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(lab.store.state, "books", broken)
    lab.restock.click()
    assert "ZeroDivisionError: a fault of ours" in lab.message.value


def test_clicks_not_made_are_made_up_for_once(lab: Lab) -> None:
    lab.unless_you_did("buy", "pay")
    assert (lab.customer.purchases, lab.customer.payments) == (1, 1)
    lab.buy.click()
    lab.unless_you_did("buy", "pay")
    assert (lab.customer.purchases, lab.customer.payments) == (2, 2)


def test_a_second_click_reports_the_same_payment_and_gets_the_same_answer(lab: Lab) -> None:
    lab.pay.click()
    assert "There is no payment yet" in lab.message.value
    lab.unless_you_did("buy", "pay")
    paid, payments = lab.message.value, lab.customer.payments
    lab.pay.click()
    assert (lab.message.value, lab.customer.payments) == (paid, payments)
    lab.decline.click()
    assert "is paid already" in lab.message.value
    lab.buy.click()
    assert "Now pay, or decline" in lab.message.value
    lab.decline.click()


def test_to_decline_is_not_to_pay(lab: Lab) -> None:
    lab.buy.click()
    lab.decline.click()
    lab.unless_you_did("buy", "pay")
    assert (lab.customer.purchases, lab.customer.payments) == (2, 1)
    lab.store.wait_until_dispatched(lab.customer.order_id or 0)


def test_an_order_that_was_paid_stays_the_last_one_when_the_next_is_declined(lab: Lab) -> None:
    lab.unless_you_did("buy", "pay")
    paid = lab.customer.order_id
    lab.buy.click()
    lab.decline.click()
    assert lab.customer.order_id == paid


def test_a_panel_follows_its_store_through_a_stop_and_a_start(lab: Lab) -> None:
    lab.store.stop()
    eventually(lambda: "the store is stopped" in lab.shelf.value, "the panel shows that the store is stopped")
    lab.store.start()
    eventually(lambda: "the store is running" in lab.shelf.value, "the panel shows that the store is running")


def test_a_panel_of_a_restarted_store_is_alive(lab: Lab) -> None:
    lab.store.restart()
    order_id = lab.store.decline(lab.store.buy())
    eventually(lambda: f"Order {order_id}: CANCELLED" in lab.timeline.value, "the new order in the timeline")


def test_a_panel_lets_go_of_a_store_that_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    before = _followers()
    with Store() as store:
        lab = Lab(store)
        assert _followers() - before
    assert not _followers() - before, "it is not looking any more: no connection is made behind the store's back"
    assert "The store is closed" in lab.shelf.value
    assert "⚠" not in lab.timeline.value


def _followers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "follows a database"}


def test_every_control_has_a_name_and_every_message_a_role(lab: Lab) -> None:
    controls = [one for one in _all(lab) if isinstance(one, (widgets.Button, widgets.Dropdown))]
    assert len(controls) == 7
    assert all(control.description for control in controls)
    assert 'role="status"' in lab.message.value


def _all(widget: widgets.Widget) -> list[widgets.Widget]:
    return [widget, *(one for child in getattr(widget, "children", ()) for one in _all(child))]


def test_refresh_shows_what_a_front_end_has_lost(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colab loses what a thread sends: here, a page does."""
    page: dict[str, dict[str, object]] = {}

    def send(widget: widgets.Widget, message: dict[str, dict[str, object]], **_buffers: object) -> None:
        if threading.current_thread() is threading.main_thread():
            page.setdefault(widget.model_id, {}).update(message.get("state", {}))

    monkeypatch.setattr(widgets.Widget, "_send", send)
    payment_id = lab.store.buy()
    follower = threading.Thread(target=lab.refresh)
    follower.start()
    follower.join()
    assert lab.timeline.model_id not in page
    lab.again.click()
    for shown in (lab.shelf, lab.timeline):
        assert page[shown.model_id]["value"] == shown.value
    lab.store.decline(payment_id)


def test_the_link_goes_through_the_proxy_of_a_hub(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    port = store.url.rpartition(":")[2]
    token = f"#crash-token={store.crash_token}"
    assert f'href="{store.url}/{token}"' in Lab(store).children[0].value
    assert f">{store.url}/<" in Lab(store).children[0].value
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    assert f'href="/user/ada/proxy/{port}/{token}"' in Lab(store).children[0].value


def test_on_colab_there_is_no_link_that_leads_nowhere(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    assert "href" not in Lab(store).children[0].value
