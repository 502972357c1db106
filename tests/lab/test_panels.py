"""The panels: clicks, and what they show."""

import re

import pytest

from widget_store.lab import Lab, Store

pytestmark = pytest.mark.slow("each database has a store process of its own, which takes two seconds to start")


@pytest.fixture
def lab(store: Store) -> Lab:
    return Lab(store)


def test_a_purchase_by_clicks(lab: Lab) -> None:
    lab.buy.click()
    assert "Now pay, or decline." in lab.message.value
    lab.pay.click()
    assert re.search(r"Paid: order \d+ is being dispatched", lab.message.value)
    assert f"Order {lab.customer.order_id}: " in lab.timeline.value


def test_a_second_click_on_buy_is_the_same_purchase(lab: Lab) -> None:
    lab.buy.click()
    payment_id = lab.customer.payment_id
    lab.buy.click()
    assert lab.customer.payment_id == payment_id
    lab.decline.click()
    assert "Declined" in lab.message.value


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


def test_paying_without_buying_is_explained(lab: Lab) -> None:
    lab.pay.click()
    assert "buy a widget first" in lab.message.value


def test_a_refusal_is_shown_where_the_learner_looks(lab: Lab) -> None:
    lab.customer.payment_id = "never-bought"
    lab.pay.click()
    assert 'role="alert"' in lab.message.value
    assert "There is no payment with this id." in lab.message.value
    assert lab.customer.payment_id is None, "a payment that was refused does not block the next purchase"


def test_an_error_in_a_handler_is_shown_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(lab.store.state, "books", broken)
    lab.restock.click()
    assert "ZeroDivisionError: a fault of ours" in lab.message.value


def test_clicks_not_made_are_made_up_for_once(lab: Lab) -> None:
    lab.unless_you_did("buy", "pay")
    assert (lab.customer.purchases, lab.customer.settled) == (1, 1)
    lab.buy.click()
    lab.unless_you_did("buy", "pay")
    assert (lab.customer.purchases, lab.customer.settled) == (2, 2)


def test_the_link_goes_through_the_proxy_of_a_hub(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    port = store.url.rpartition(":")[2]
    assert f'href="{store.url}/"' in Lab(store).children[0].value
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    assert f'href="/user/ada/proxy/{port}/"' in Lab(store).children[0].value
