"""The handle on a store process."""

from pathlib import Path

import psutil
import pytest

from widget_store.errors import StoreDidNotStart
from widget_store.lab import Store, StoreRefused

pytestmark = pytest.mark.slow("each database has a store process of its own, which takes two seconds to start")


def test_a_purchase_is_paid_and_dispatched(store: Store) -> None:
    order_id = store.pay(store.buy())
    store.wait_until_dispatched(order_id)
    assert store.order(order_id)["order_status"] == 1
    assert store.state.books()["missing"] == 0


def test_the_same_key_is_the_same_purchase(store: Store) -> None:
    assert store.buy("once") == store.buy("once")
    assert store.pay("once") == store.pay("once")


def test_a_crash_between_buying_and_paying_keeps_the_order(store: Store) -> None:
    payment_id = store.buy()
    dead = store.worker_pid()
    orders = store.state.orders()
    store.crash()
    assert not psutil.pid_exists(dead) or psutil.Process(dead).status() == psutil.STATUS_ZOMBIE
    assert store.state.orders().equals(orders)
    assert store.pay(payment_id) == orders.index[0]
    assert store.worker_pid() != dead
    store.wait_until_back()
    assert store.deaths[-1].back_at is not None
    assert store.deaths[-1].back_at > store.deaths[-1].died_at


def test_an_armed_crash_point_fires_once_and_the_order_is_finished(store: Store) -> None:
    deaths = len(store.deaths)
    store.crash(at="*/*.mark_order_paid/effect/after")
    order_id = store.pay(store.buy())
    store.wait_until_dispatched(order_id)
    assert len(store.deaths) == deaths + 1
    steps = store.state.steps_of_order(order_id)["what"]
    assert list(steps).count("mark_order_paid") == 1
    assert store.state.books()["missing"] == 0


def test_what_is_no_crash_point_is_refused_with_an_example(store: Store) -> None:
    with pytest.raises(StoreRefused, match="create_order/effect/before"):
        store.crash(at="teatime")


def test_a_refusal_has_the_stores_reason(store: Store) -> None:
    with pytest.raises(StoreRefused, match="no payment with this id") as refusal:
        store.pay("never-bought")
    assert refusal.value.status == 404


def test_a_declined_order_gives_its_widget_back(store: Store) -> None:
    shelf = store.product()["inventory"]
    order_id = store.decline(store.buy())
    assert store.order(order_id)["order_status"] == -1
    assert store.product()["inventory"] == shelf
    with pytest.raises(StoreRefused, match="paid already"):
        store.decline(_paid(store))


def _paid(store: Store) -> str:
    payment_id = store.buy()
    store.pay(payment_id)
    return payment_id


def test_a_restarted_store_goes_on_with_what_was_under_way(store: Store) -> None:
    payment_id = store.buy()
    deaths = len(store.deaths)
    store.restart()
    assert store.pay(payment_id) > 0
    assert len(store.deaths) == deaths, "a stop in good order is no crash"


def test_starting_a_running_store_again_does_no_harm(store: Store) -> None:
    worker = store.worker_pid()
    assert store.start().worker_pid() == worker


def test_a_second_store_of_the_kernel_stops_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    with Store() as first:
        pid = first.worker_pid()
        with Store() as second:
            assert not first.is_running()
            assert not psutil.pid_exists(pid)
            assert second.product()["inventory"] == 100


def test_a_fresh_store_counts_orders_from_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    with Store.fresh() as store:
        assert store.decline(store.buy()) == 1
    with Store.fresh() as store:
        assert store.state.orders().empty
        assert store.decline(store.buy()) == 1


def test_a_learners_file_that_can_not_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    file = tmp_path / "checkout.py"
    file.write_text("def something_else(): ...\n")
    with pytest.raises(StoreDidNotStart, match=r"checkout\.py defines no checkout_workflow"):
        Store(file).start()


def test_a_store_that_was_never_started_says_so() -> None:
    with pytest.raises(StoreDidNotStart, match="start"):
        Store().buy()
    with pytest.raises(StoreDidNotStart, match="start"):
        _ = Store().state
