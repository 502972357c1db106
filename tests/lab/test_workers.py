"""Several workers on one database: who has what, and what becomes of it when one of them dies for good."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.conftest import BACKENDS
from tests.support import PATIENCE_SECONDS, ROOT, Books, cut_connections, environment, eventually, new_key
from widget_store.databases import Database
from widget_store.errors import StoreDidNotStart, WidgetStoreError
from widget_store.lab import StoreRefused, WorkerIsDead, Workers, WorkersPanel
from widget_store.serving import executors

pytestmark = pytest.mark.slow("starts two workers, and waits for one to take over from the other", weight=2)

ONE_TRUCK = """
from dbos import DBOS, SetWorkflowID
from widget_store.transactions import create_order, mark_order_paid, reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS, dispatch_order_workflow

def on_launch():
    DBOS.register_queue("trucks", global_concurrency=1, polling_interval_sec=0.02)

@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    reserve_inventory()
    DBOS.set_event(PAYMENT_ID, key)
    DBOS.recv(PAYMENT_STATUS, timeout_seconds=60)
    mark_order_paid(order_id)
    with SetWorkflowID(f"{key}.dispatch"):
        DBOS.enqueue_workflow("trucks", dispatch_order_workflow, order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
    return key
"""


@pytest.fixture(params=BACKENDS)
def own_database(request: pytest.FixtureRequest, new_database: Callable[[str], Database]) -> Database:
    """An empty database for one test: workers die here."""
    return new_database(request.param)


@pytest.fixture(scope="module")
def workers(database: Database) -> Iterator[Workers]:
    """Two workers that nobody kills."""
    with Workers(2, database=database, dispatch_interval=0.01) as running:
        yield running


def row(table: pd.DataFrame, key: object) -> list[object]:
    return list(table[table.index == key].iloc[0])


def descendants() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_each_has_an_executor_id_of_its_own(workers: Workers) -> None:
    assert workers.names == workers.alive() == ["worker-1", "worker-2"]
    assert repr(workers) == "Workers(worker-1 is running, worker-2 is running)"


def test_a_payment_may_be_reported_to_any_worker(workers: Workers) -> None:
    key = new_key()
    workers.buy(key, at="worker-2")
    assert row(workers.workflows(), key) == ["PENDING", "worker-2"]
    order_id = workers.pay(key, at="worker-1")
    workers.wait_until_idle()
    assert row(workers.workflows(), key) == ["SUCCESS", "worker-2"]
    assert row(workers.orders(), order_id) == ["DISPATCHED", "worker-2"]


def test_the_same_purchase_at_two_workers_at_once_is_one_order(workers: Workers) -> None:
    keys, orders_before = [new_key() for _ in range(5)], len(workers.orders())
    with ThreadPoolExecutor(10) as customers:
        list(
            customers.map(
                lambda each: workers.buy(each[0], at=each[1]), [(k, at) for k in keys for at in workers.names]
            )
        )
        assert len(workers.orders()) == orders_before + 5
        paid = [customers.submit(workers.pay, key, at=at) for key in keys for at in workers.names]
        assert len({payment.result() for payment in paid}) == 5
    workers.wait_until_idle()
    assert workers.state.books()["missing"] == 0


def test_a_refusal_is_told(workers: Workers) -> None:
    with pytest.raises(StoreRefused, match="no payment"):
        workers.pay(new_key())
    with pytest.raises(WorkerIsDead, match="worker-9 is not running"):
        workers.buy(at="worker-9")


def test_a_survivor_finishes_what_a_dead_worker_had_under_way(own_database: Database) -> None:
    with Workers(2, database=own_database, dispatch_interval=0.2) as workers:
        workers.buy("waits", at="worker-2")
        workers.buy("ships", at="worker-2")
        ships = workers.pay("ships", at="worker-1")
        workers.kill("worker-2")
        assert workers.alive() == ["worker-1"]
        assert row(workers.orders(), ships) == ["PAID", "worker-2"]
        with pytest.raises(WorkerIsDead, match="Running workers: worker-1"):
            workers.kill("worker-2")
        waits = workers.pay("waits")
        workers.wait_until_dispatched(ships, waits)
        workers.wait_until_idle()
        assert set(workers.orders()["worker"]) == {"worker-1"}
        assert Books(own_database).violations() == []
        assert workers.add() == "worker-2", "the id of the dead one is free"
        assert workers.names == ["worker-1", "worker-2"]


def test_a_dead_worker_does_not_keep_its_place_in_a_queue(own_database: Database, tmp_path: Path) -> None:
    app = tmp_path / "one_truck.py"
    app.write_text(ONE_TRUCK)
    with Workers(2, app, database=own_database, dispatch_interval=0.05) as workers:
        orders = [workers.pay(workers.buy(key)) for key in ("a", "b", "c")]
        busy = eventually(
            lambda: workers.client.list_workflows(queue_name="trucks", status="PENDING"), "a dispatch under way"
        )
        workers.kill(str(busy[0].executor_id))
        workers.wait_until_dispatched(*orders)
        workers.wait_until_idle()
        assert workers.dispatches().to_numpy().tolist() == [[1, 2], [3, 4], [5, 6]], "one at a time"


def test_a_limit_over_all_workers_holds_however_many_look_at_once(own_database: Database, tmp_path: Path) -> None:
    app = tmp_path / "one_truck.py"
    app.write_text(ONE_TRUCK)
    with Workers(3, app, database=own_database, dispatch_interval=0.001) as workers:
        for _ in range(12):
            workers.pay(workers.buy())
        workers.wait_until_idle()
        moments = [moment for span in workers.dispatches().to_numpy().tolist() for moment in span]
        assert moments == list(range(1, 25)), "each ended before the next one began"


def test_orders_that_nobody_is_left_to_see_to_are_not_waited_for(own_database: Database) -> None:
    with Workers(1, database=own_database, dispatch_interval=1) as workers:
        order_id = workers.pay(workers.buy())
        workers.kill("worker-1")
        with pytest.raises(WorkerIsDead, match="so the dispatch of order"):
            workers.wait_until_dispatched(order_id)
        with pytest.raises(WorkerIsDead, match="Running workers: none"):
            workers.buy()


def test_a_workflow_that_fails_is_told(new_database: Callable[[str], Database], tmp_path: Path) -> None:
    app = tmp_path / "fails.py"
    app.write_text(
        ONE_TRUCK + "\n@DBOS.workflow()\ndef dispatch_order_workflow(order_id):\n    raise KeyError('truck')\n"
    )
    with Workers(1, app, database=new_database("sqlite")) as workers:
        workers.pay(workers.buy())
        with pytest.raises(WidgetStoreError, match="dispatch_order_workflow has failed: KeyError: 'truck'"):
            workers.wait_until_idle()


@pytest.mark.parametrize("fault", ["1 / 0", "def on_launch():\n    1 / 0"])
def test_a_file_that_can_not_be_run_is_told(
    fault: str, new_database: Callable[[str], Database], tmp_path: Path
) -> None:
    before = descendants()
    app = tmp_path / "broken.py"
    app.write_text(f"{ONE_TRUCK}\n{fault}\n")
    with pytest.raises(StoreDidNotStart, match=r"broken\.py.*ZeroDivisionError"):
        Workers(2, app, database=new_database("sqlite")).start()
    assert len(descendants() - before) <= 2, "no more than the process that forks, and its helper"


def test_fresh_ones_take_the_place_of_those_before(
    new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database("sqlite").url)
    before = Workers.fresh(1)
    before.buy()
    with Workers.fresh(1) as workers:
        assert not before.is_open()
        assert repr(before) == "Workers(closed)"
        assert repr(workers) == "Workers(worker-1 is running)"
        assert len(workers.orders()) == 0
        with pytest.raises(WidgetStoreError, match="closed"):
            before.orders()


def test_fresh_ones_wait_for_a_killed_one_whose_session_still_lives(
    new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = new_database("postgresql")
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", database.url)
    its_session = executors.claim(database, 1)
    ending = threading.Timer(2.0, its_session.release)  # longer than a worker takes to start
    ending.start()
    with Workers.fresh(1) as workers:
        assert not its_session.still_held()
        assert workers.alive() == ["worker-1"]
    ending.join()


def test_a_worker_that_has_lost_its_executor_id_ends_for_another_may_have_it(
    new_database: Callable[[str], Database],
) -> None:
    database = new_database("postgresql")
    with Workers(1, database=database) as workers:
        cut_connections(database)
        eventually(lambda: workers.alive() == [], "its end")


def test_closed_ones_start_again_and_give_way_to_fresh_ones(
    new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database("sqlite").url)
    before = Workers(1).start()
    before.close()
    before.start()
    assert before.buy("key") == "key"
    with Workers.fresh(1) as workers:
        assert not before.is_open()
        assert len(workers.orders()) == 0


def test_none_outlives_its_kernel(own_database: Database) -> None:
    script = "from widget_store.lab import Workers; Workers.fresh(2); print('ready', flush=True); input()"
    kernel = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(WIDGET_STORE_DATABASE_URL=own_database.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with kernel:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "ready\n"
        family = psutil.Process(kernel.pid).children(recursive=True)
        assert len(family) >= 2
        kernel.send_signal(signal.SIGKILL)
        _, left = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        assert left == []


HOLDS_THE_INTERPRETER = """
import ctypes
from dbos import DBOS

@DBOS.workflow()
def checkout_workflow(key):
    print("holds it", flush=True)
    ctypes.PyDLL(None).sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread looks, which needs the interpreter")
def test_none_outlives_its_kernel_whatever_a_learners_code_does(
    new_database: Callable[[str], Database], tmp_path: Path
) -> None:
    app = tmp_path / "holds.py"
    app.write_text(HOLDS_THE_INTERPRETER)
    script = f"""
import httpx
from widget_store.lab import Workers
(worker,) = Workers.fresh(1, {str(app)!r})._workers
print("ready", flush=True)
try:
    httpx.post(f"{{worker.url}}/checkout/anna", timeout=3)
    httpx.get(f"{{worker.url}}/healthz", timeout=1)
except httpx.TimeoutException:
    print("held", flush=True)
input()
"""
    kernel = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(WIDGET_STORE_DATABASE_URL=new_database("sqlite").url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with kernel:
        assert kernel.stdout is not None
        assert [kernel.stdout.readline(), kernel.stdout.readline()] == ["ready\n", "held\n"]
        family = psutil.Process(kernel.pid).children(recursive=True)
        kernel.kill()
        _, left = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        assert left == []


# --- the panel


@pytest.fixture
def panel(workers: Workers) -> WorkersPanel:
    return WorkersPanel(workers)


def test_a_purchase_by_clicks_goes_to_one_worker_and_its_payment_to_the_next(panel: WorkersPanel) -> None:
    panel.buy.click()
    assert "You bought at worker-1" in panel.message.value
    panel.pay.click()
    (order_id,) = panel.crowd.order_ids
    assert f"You paid at worker-2, and it answered: order {order_id}." in panel.message.value
    panel.workers.wait_until_dispatched(order_id)
    panel.refresh()
    assert f"<td>{order_id}</td><td>DISPATCHED</td><td>worker-1</td>" in panel.orders.value
    assert "● is running, has " in panel.state_of["worker-1"].value


def test_clicks_not_made_are_made_up_for(panel: WorkersPanel) -> None:
    panel.buy.click()
    panel.unless_you_did("buy", "buy", "pay", "pay")
    assert (panel.crowd.purchases, len(panel.crowd.order_ids)) == (2, 2)
    panel.unless_you_did("buy", "pay")
    assert (panel.crowd.purchases, len(panel.crowd.order_ids)) == (3, 3)


def test_clicks_that_come_in_two_threads_are_made_one_after_the_other(
    panel: WorkersPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab hands the first clicks to the thread of the cells, and the next ones to another."""
    at_it, most = 0, 0

    def buy() -> None:
        nonlocal at_it, most
        at_it += 1
        most = max(most, at_it)
        time.sleep(0.05)
        at_it -= 1

    monkeypatch.setattr(panel.crowd, "buy", buy)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: panel.buy.click(), range(3)))
    assert most == 1


def test_the_panel_has_words_and_not_only_colours(panel: WorkersPanel) -> None:
    assert repr(panel) == "WorkersPanel: Kill worker-1, Kill worker-2, Buy, Pay, and the orders"
    assert panel.kill["worker-1"].description == "Kill worker-1"
    assert "for good" in panel.kill["worker-1"].tooltip
    assert '<th scope="col">order</th>' in panel.orders.value


def test_what_goes_wrong_is_shown_in_the_panel(panel: WorkersPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel.pay.click()
    assert "buy a widget first" in panel.message.value
    panel.crowd.unpaid.append("never-bought")
    panel.pay.click()
    assert 'role="alert">⚠ Refused: There is no payment' in panel.message.value

    def broken() -> list[str]:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(panel.workers, "alive", broken)
    panel.buy.click()
    assert "⚠ Error: ZeroDivisionError: a fault of ours" in panel.message.value


def test_a_worker_killed_by_a_click_is_shown_as_dead(new_database: Callable[[str], Database]) -> None:
    with Workers(2, database=new_database("sqlite")) as workers:
        panel = WorkersPanel(workers)
        panel.unless_you_did("worker-2")
        assert "✖ is dead, has no order" in panel.state_of["worker-2"].value
        assert panel.kill["worker-2"].disabled
        panel.kill["worker-1"].click()
        panel.buy.click()
        assert "All workers are dead. Run again from the cell with Workers.fresh." in panel.message.value
    assert "The workers are closed" in panel.message.value
    assert "■ is closed" in panel.state_of["worker-1"].value
    assert all(button.disabled for button in (panel.buy, panel.pay, *panel.kill.values()))
    assert "The workers are closed" in WorkersPanel(workers).message.value


def test_the_last_worker_that_lives_is_killed_by_a_click_only(new_database: Callable[[str], Database]) -> None:
    with Workers(2, database=new_database("sqlite"), dispatch_interval=600) as workers:
        panel = WorkersPanel(workers)
        panel.unless_you_did("buy", "buy", "pay", "pay")
        first, second = panel.crowd.order_ids
        assert f"● is running, has order {first}" in panel.state_of["worker-1"].value
        panel.kill["worker-1"].click()
        assert list(panel.crowd.left_behind) == [first]
        panel.unless_you_did("worker-2")
        assert workers.alive() == ["worker-2"]
        assert "worker-2 was not killed: it is the last running worker." in panel.message.value
        eventually(lambda: first in workers.dispatches_at("worker-2"), "the survivor takes over")
        panel.refresh()
        assert f"● is running, has orders {first}, {second}" in panel.state_of["worker-2"].value


def test_a_double_click_kills_once(new_database: Callable[[str], Database]) -> None:
    with Workers(2, database=new_database("sqlite")) as workers:
        panel = WorkersPanel(workers)
        panel.kill["worker-2"].click()
        panel.kill["worker-2"].click()
        assert "You killed worker-2" in panel.message.value
        assert panel.crowd.killed == ["worker-2"]


def test_a_worker_that_is_added_has_a_row_and_a_button(new_database: Callable[[str], Database]) -> None:
    with Workers(1, database=new_database("sqlite")) as workers:
        panel = WorkersPanel(workers)
        workers.add()
        panel.refresh()
        assert "● is running, has no order" in panel.state_of["worker-2"].value
        panel.kill["worker-2"].click()
        assert workers.alive() == ["worker-1"]
        assert "✖ is dead" in panel.state_of["worker-2"].value
        workers.add()
        panel.refresh()
        assert "● is running" in panel.state_of["worker-2"].value
        assert not panel.kill["worker-2"].disabled
