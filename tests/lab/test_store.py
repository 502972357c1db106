"""The handle on a store process."""

from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import BACKENDS
from tests.support import eventually, new_key, serving
from widget_store.databases import Database
from widget_store.endpoints import signature_of
from widget_store.errors import StoreDidNotStart
from widget_store.lab import Store, StoreRefused, Workers
from widget_store.schema import DISPATCH_STEPS
from widget_store.system.windows import AS_ON_WINDOWS

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
    newest = store.state.orders().head(1)  # an order of a test before may be on its way
    store.crash()
    assert not psutil.pid_exists(dead) or psutil.Process(dead).status() == psutil.STATUS_ZOMBIE
    assert store.state.orders().head(1).equals(newest)
    assert store.pay(payment_id) == newest.index[0]
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_store_that_was_stopped_does_not_join_the_one_that_has_taken_its_place(
    backend: str, new_database: Callable[[str], Database], public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two notebooks: the first stops its store, the second begins anew, and the first goes on."""
    url = new_database(backend).url
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", url)
    with Store.fresh() as first:
        first.buy()
        first.stop()
        with serving(public_folder, "--fresh", WIDGET_STORE_DATABASE_URL=url) as second:
            with pytest.raises(StoreDidNotStart, match="Another store is open on the same database"):
                first.start()
            with pytest.raises(StoreDidNotStart, match="Another store is open on the same database"):
                Workers(1).start()
            assert second.sell(new_key()) == 1
        assert first.start().state.books()["missing"] == 0


def test_a_learners_file_that_can_not_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    file = tmp_path / "checkout.py"
    file.write_text("def something_else(): ...\n")
    with pytest.raises(StoreDidNotStart, match=r"checkout\.py defines no checkout_workflow"):
        Store(file).start()


CHATTY = """
import sys
from dbos import DBOS
from widget_store.transactions import create_order, mark_order_paid, reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS

def chat(about):
    for line in range(10_000):
        print(about, "line", line)
    sys.stdout.buffer.write(b"\\xff no text\\n")
    print(about, "is over", file=sys.stderr)

chat("import")
print("without a line's end: ", end="", flush=True)

@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    reserve_inventory()
    DBOS.set_event(PAYMENT_ID, key)
    DBOS.recv(PAYMENT_STATUS, timeout_seconds=60)
    mark_order_paid(order_id)
    chat("workflow")
    print("said right before the crash")
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
"""


def test_a_learners_file_may_print_as_much_as_it_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    file = tmp_path / "chatty.py"
    file.write_text(CHATTY)
    with Store(file) as store:
        assert "import line 9999\n" in store.output
        assert "import is over\n" in store.output
        assert "without a line's end: " in store.output

        payment_id = store.buy()
        store.crash(at="checkout_workflow/*.set_event order_id/checkpoint/before")
        assert store.pay(payment_id) == 1  # it has printed twice by now, once in each process
        store.wait_until_back()
        eventually(lambda: "said right before the crash\n" in store.output, "what the workflow has printed")
        assert "workflow line 9999\n" in store.output
        assert len(store.output.splitlines()) <= 101, "only the end is kept"

        store.restart()
        assert "import line 9999\n" in store.output
        assert "workflow" not in store.output, "each start begins anew"
    assert "import line 9999\n" in store.output, "also when it is closed"


def test_what_was_printed_before_a_crash_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    file = tmp_path / "quiet.py"
    file.write_text(CHATTY.replace('chat("import")', "").replace("10_000", "0"))
    with Store(file) as store:
        store.crash(at="checkout_workflow/*.set_event order_id/checkpoint/before")
        store.pay(store.buy())
        store.wait_until_back()
        eventually(lambda: store.output.count("said right before the crash\n") == 2, "the words of both processes")


def test_a_learners_error_is_told_without_all_that_was_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    file = tmp_path / "broken.py"
    file.write_text("for line in range(10_000): print('line', line)\nraise ValueError('fix me')\n")
    store = Store(file)
    with pytest.raises(StoreDidNotStart, match=r"broken\.py can't be run: ValueError: fix me") as failure:
        store.start()
    assert "line 9999" not in str(failure.value)
    assert "line 9999" in store.output
    store.close()


@pytest.mark.parametrize("order_id", [None, 0, 10**6])
def test_nobody_waits_for_an_order_that_does_not_exist(store: Store, order_id: int) -> None:
    with pytest.raises(StoreRefused, match=f"There is no order {order_id}"):
        store.wait_until_dispatched(order_id)


def test_nobody_waits_for_a_cancelled_order(store: Store) -> None:
    order_id = store.decline(store.buy())
    with pytest.raises(StoreRefused, match=f"Order {order_id} is cancelled"):
        store.wait_until_dispatched(order_id)


def test_nobody_waits_for_a_store_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    with Store(dispatch_interval=60) as store:
        order_id = store.pay(store.buy())
        store.stop()
        with pytest.raises(StoreDidNotStart, match=r"call start\(\)"):
            store.wait_until_dispatched(order_id)


@pytest.mark.skipif(AS_ON_WINDOWS, reason="there the worker's parent is the supervisor")
def test_a_store_that_was_killed_altogether_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    with Store() as store:
        supervisor = psutil.Process(store.worker_pid()).parents()[1]
        supervisor.kill()
        eventually(lambda: not store.is_running(), "the end of the supervisor")
        with pytest.raises(StoreDidNotStart, match=r"has ended: something killed its process"):
            store.buy()
        assert store.start().product()["inventory"] == 100


def test_a_store_that_was_never_started_says_so() -> None:
    with pytest.raises(StoreDidNotStart, match="start"):
        Store().buy()
    with pytest.raises(StoreDidNotStart, match="start"):
        _ = Store().state


def test_a_store_with_a_secret_believes_signed_payments_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    monkeypatch.setenv("WIDGET_STORE_WEBHOOK_SECRET", "that of a real payment provider")
    with Store.fresh() as store:
        assert store.decline(store.buy("anna")) == 1
    with Store.fresh(webhook_secret="the lesson's") as store:  # noqa: S106
        store.buy("anna")
        with pytest.raises(StoreRefused, match="not signed") as refusal:
            store.decline("anna")
        assert refusal.value.status == 401
        report = f"{store.url}/payment_webhook/anna/failed"
        signature = {"X-Widget-Signature": signature_of("the lesson's", "anna", "failed")}
        assert httpx.post(report, headers=signature, trust_env=False, timeout=60).text == "1"


def test_an_order_under_way_goes_on_with_any_other_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    with Store(dispatch_interval=0.3) as store:
        order_id = store.pay(payment_id := store.buy())
        dispatch = f"{payment_id}.dispatch"
        eventually(lambda: store.state.steps_of(dispatch), "a step of the dispatch")
    with Store(dispatch_interval=0) as store:
        store.wait_until_dispatched(order_id)
        taken = [step.name for step in store.state.steps_of(dispatch)]
    assert taken == ["sleep", "update_order_progress"] * DISPATCH_STEPS
