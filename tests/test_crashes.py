"""Real SIGKILLs: between a customer's calls, and at every crash point. The books must balance after each."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import CANCELLED, DISPATCHED, Books, Serving, eventually, new_key, serving
from widget_store.crashes import STEPS, CrashPoints, crash_points
from widget_store.database import Database

UNDO = ["undo_reserve_inventory", "cancel_order"]
PAID_ONLY = ["mark_order_paid", "dispatch_order_workflow", "update_order_progress"]
SOLD_OUT = ["create_order", "reserve_inventory", "cancel_order", "set_event payment_id", "set_event order_id"]


@dataclass(frozen=True)
class Scenario:
    """A way a checkout can go, the steps it meets, and how its order ends."""

    name: str
    steps: list[str]
    ends: int
    stock: int = 2
    payment: str = "paid"

    def points(self) -> list[str]:
        return [point for point in crash_points() if point.partition(":")[0] in self.steps]


SCENARIOS = [
    Scenario("paid", [step for step in STEPS if step not in UNDO], DISPATCHED),
    Scenario("declined", [step for step in STEPS if step not in PAID_ONLY], CANCELLED, payment="failed"),
    Scenario("sold out", SOLD_OUT, CANCELLED, stock=0),
]
POINTS = [
    pytest.param(scenario, point, id=f"{scenario.name}-{point}")
    for scenario in SCENARIOS
    for point in scenario.points()
]
SAMPLE = [each for each in POINTS if str(each.id).endswith(":between")]


@dataclass
class Shop:
    """A store that can be crashed, and its database."""

    store: Serving
    books: Books


@pytest.fixture(scope="module")
def open_shop(new_database: Callable[[str], Database], public_folder: Path) -> Iterator[Callable[[str], Shop]]:
    """The shop on a kind of database, opened when a test first asks for it."""
    opened = {}
    with contextlib.ExitStack() as running:

        def shop(backend: str) -> Shop:
            if backend not in opened:
                database = new_database(backend)
                store = running.enter_context(
                    serving(public_folder, "--crash-endpoint", WIDGET_STORE_DATABASE_URL=database.url)
                )
                opened[backend] = Shop(store, Books(database))
            return opened[backend]

        yield shop


def check_out(store: Serving, scenario: Scenario) -> int:
    """One customer's whole business, who asks again when nobody answers; the order's id."""
    key = new_key()
    bought = store.persistently(lambda: store.buy(key))
    if scenario.stock == 0:
        assert bought.status_code == 409, bought.text
        return int(store.persistently(lambda: store.client.get("/orders?limit=1")).json()[0]["order_id"])
    assert (bought.status_code, bought.text) == (200, key)
    settled = store.persistently(lambda: store.pay(key, scenario.payment))
    assert settled.status_code == 200, settled.text
    return int(settled.text)


def crash_at(shop: Shop, scenario: Scenario, point: str) -> None:
    store, books = shop.store, shop.books
    books.set_inventory(scenario.stock)
    before = store.worker()
    store.client.post("/crash_application", params={"at": point}).raise_for_status()
    order_id = check_out(store, scenario)
    eventually(lambda: not before.is_running(), f"the death at {point}")
    assert books.violations() == []
    assert store.worker() != before
    assert store.order_status(order_id) == scenario.ends
    assert store.inventory() == (scenario.stock - 1 if scenario.ends == DISPATCHED else scenario.stock)


@pytest.mark.slow("kills a process and waits for its recovery")
@pytest.mark.parametrize(("scenario", "point"), POINTS)
def test_a_checkout_survives_a_crash_at_every_point(
    open_shop: Callable[[str], Shop], scenario: Scenario, point: str
) -> None:
    crash_at(open_shop("postgresql"), scenario, point)


@pytest.mark.slow("kills a process and waits for its recovery")
@pytest.mark.parametrize(("scenario", "point"), SAMPLE)
def test_a_checkout_survives_a_crash_between_its_two_commits_on_sqlite(
    open_shop: Callable[[str], Shop], scenario: Scenario, point: str
) -> None:
    crash_at(open_shop("sqlite"), scenario, point)


@pytest.mark.slow("kills a process between any two calls of a customer")
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
@pytest.mark.parametrize(("payment", "ends"), [("paid", DISPATCHED), ("failed", CANCELLED)])
def test_a_kill_between_every_two_calls_loses_nothing(
    open_shop: Callable[[str], Shop], backend: str, payment: str, ends: int
) -> None:
    shop, key = open_shop(backend), new_key()
    store = shop.store
    shop.books.set_inventory(2)

    store.kill_worker()
    assert store.persistently(lambda: store.buy(key)).text == key
    store.kill_worker()
    assert store.persistently(lambda: store.buy(key)).text == key
    store.kill_worker()
    order_id = int(store.persistently(lambda: store.pay(key, payment)).text)
    store.kill_worker()
    assert store.persistently(lambda: store.pay(key, payment)).text == str(order_id)
    store.kill_worker()
    order = store.persistently(lambda: store.client.get(f"/order/{order_id}"))
    assert order.json()["order_id"] == order_id

    assert shop.books.violations() == []
    assert store.order_status(order_id) == ends


@pytest.mark.slow("kills a process with many checkouts in it")
def test_a_kill_among_many_customers_loses_nobody_s_order(open_shop: Callable[[str], Shop]) -> None:
    shop = open_shop("postgresql")
    shop.books.set_inventory(20)
    scenario = Scenario("paid", [], DISPATCHED, stock=20)
    with ThreadPoolExecutor(8) as threads:
        orders = [threads.submit(check_out, shop.store, scenario) for _ in range(8)]
        shop.store.kill_worker()
        ids = {order.result() for order in orders}
    assert len(ids) == 8
    assert shop.books.violations() == []
    assert {shop.store.order_status(order_id) for order_id in ids} == {DISPATCHED}


def test_every_crash_point_belongs_to_a_scenario() -> None:
    assert {point for scenario in SCENARIOS for point in scenario.points()} == set(crash_points())


def test_a_crash_point_that_does_not_exist_can_not_be_armed() -> None:
    points = CrashPoints()
    with pytest.raises(ValueError, match="There is no crash point 'reserve_inventory'"):
        points.arm("reserve_inventory")
    assert points.armed is None
