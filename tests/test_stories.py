"""Stories nobody thought of: Hypothesis makes up what customers do while the store is killed under them.

The store is a real one, on a real database, behind HTTP. Whatever happens, the books must balance whenever no workflow
is running, and whatever a customer was told must be true from then on. When something breaks, Hypothesis looks for the
shortest story in which it does, and prints that.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import BACKENDS
from tests.support import CANCELLED, DISPATCHED, PAID, ROOT, Serving, eventually, lives, new_key, serving
from widget_store.crashtest import looking
from widget_store.databases import Database
from widget_store.lab import invariants
from widget_store.lab.checkout_points import checkout_points

pytestmark = pytest.mark.slow("plays many stories, and kills a store in most of them")

MUTANTS = ROOT / "tests" / "mutants"
GAPS = [point for point in checkout_points() if point.endswith(("/effect/after", "/checkpoint/before"))]
"""One crash point for each step: its work is done, and DBOS does not know it yet."""
STORIES = settings(
    max_examples=8,
    stateful_step_count=12,
    deadline=None,  # a crash takes as long as it takes
    derandomize=True,  # the same stories in every run
    database=None,
    phases=(Phase.generate, Phase.shrink),
    print_blob=False,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),  # a story takes a second, and that is how it is
)


@dataclass
class Shop:
    """A served store and its database, for one story after another."""

    store: Serving
    connection: sa.Connection

    def ask(self, path: str) -> httpx.Response:
        """Ask until somebody answers, as a customer does whose store has just been killed."""
        return self.store.persistently(lambda: self.store.client.post(path))

    def wait_for_rest(self) -> None:
        eventually(self.at_rest, "the end of all workflows")

    def at_rest(self) -> bool:
        return looking.at_rest(self.connection)

    def violations(self) -> list[str]:
        return invariants.violations(self.connection)

    def order_status(self, order_id: int) -> int | None:
        query = sa.text("SELECT order_status FROM orders WHERE order_id = :id")
        return self.connection.execute(query, {"id": order_id}).scalar_one_or_none()

    def count_orders(self) -> int:
        return int(self.connection.execute(sa.text("SELECT count(*) FROM orders")).scalar_one())

    def begin_anew(self, widgets: int) -> None:
        """Forget what the story before has left behind, which may be broken."""
        self.wait_for_rest()
        self.connection.execute(sa.text("DELETE FROM dbos.workflow_status"))
        self.connection.execute(sa.text("DELETE FROM orders"))
        fill_shelf = sa.text("UPDATE products SET inventory = :widgets, stock_added = :widgets")
        self.connection.execute(fill_shelf, {"widgets": widgets})


@dataclass
class Told:
    """What a customer was told.

    Attributes:
        checkout: The status with which the checkout was answered: 200, or 409 for sold out.
        order: The order's id, and whether it is paid for; None as long as it is not settled.
    """

    checkout: int
    order: tuple[int, bool] | None = None


def once(act: Callable[..., None]) -> Callable[..., None]:
    """At most once until the next customer comes: crash upon crash, with nothing in between, teaches nothing."""

    @wraps(act)
    def noted(self: "Story", **arguments: object) -> None:
        self.acts.add(act.__name__)
        act(self, **arguments)

    return precondition(lambda self: act.__name__ not in self.acts)(noted)


class Story(RuleBasedStateMachine):
    """What can happen in a store, in any order.

    What turns out broken is noted, and the story goes on to its end: Hypothesis can shorten only what goes the same way
    every time, and after which step a workflow has ended is a matter of luck.
    """

    keys: Bundle[str] = Bundle("keys")

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop = shop
        self.told: dict[str, Told] = {}
        self.acts: set[str] = set()
        self.broken: list[str] = []

    @initialize(widgets=st.integers(0, 3))
    def open_with(self, widgets: int) -> None:
        self.shop.begin_anew(widgets)

    # --- customers

    @rule(target=keys, customers=st.integers(1, 3))
    def buy(self, customers: int) -> MultipleResults[str]:
        """They all buy at once."""
        keys = [new_key() for _ in range(customers)]
        self._check_out(*keys)
        return multiple(*keys)

    @rule(target=keys)
    def double_click(self) -> str:
        key = new_key()
        self._check_out(key, key)
        return key

    @rule(key=keys)
    def ask_again(self, key: str) -> None:
        self._check_out(key)

    @rule(key=keys)
    def pay(self, key: str) -> None:
        self._settle(key, "paid")

    @rule(key=keys)
    def decline(self, key: str) -> None:
        self._settle(key, "failed")

    @rule(key=keys)
    def pay_late(self, key: str) -> None:
        self.shop.wait_for_rest()
        self._settle(key, "paid")

    # --- the shopkeeper, and fate

    @rule()
    @once
    def restock(self) -> None:
        assert self.shop.ask("/restock").status_code == 200

    @rule(point=st.sampled_from(GAPS))
    @once
    def crash_at(self, point: str) -> None:
        """The store dies when a workflow next gets there."""
        assert self.shop.ask(f"/crash_application?at={point}").status_code == 202

    @rule()
    @once
    def crash(self) -> None:
        self.shop.store.kill_worker()

    @rule()
    @once
    def restart(self) -> None:
        """In good order: the store is told to stop."""
        worker = self.shop.store.worker()
        worker.terminate()
        eventually(lambda: not lives(worker), "the end of a worker that was told to stop")

    # --- what must be true

    @precondition(lambda self: self.shop.at_rest())
    @invariant()
    def the_books_balance_whenever_no_workflow_is_running(self) -> None:
        self.broken += self.shop.violations()

    @invariant()
    def every_promise_is_kept(self) -> None:
        for told in self.told.values():
            if told.order is not None:
                order_id, paid = told.order
                status = self.shop.order_status(order_id)
                if status not in ({PAID, DISPATCHED} if paid else {CANCELLED}):
                    self.broken.append(f"order {order_id} has status {status}, and its customer was told {told}")

    def teardown(self) -> None:
        """Whoever has not paid declines: so every customer was told of an order, which must be theirs alone."""
        for key in self.told:
            self._settle(key, "failed")
        self.shop.wait_for_rest()
        self.the_books_balance_whenever_no_workflow_is_running()
        self.every_promise_is_kept()
        order_ids = {told.order[0] for told in self.told.values() if told.order is not None}
        if not len(order_ids) == len(self.told) == self.shop.count_orders():
            self.broken.append(f"{len(self.told)} keys, and {self.shop.count_orders()} orders: {sorted(order_ids)}")
        assert not self.broken, "\n".join(self.broken)

    # ---

    def _check_out(self, *keys: str) -> None:
        """Click once for each of the keys, all at once."""
        self.acts.clear()
        with ThreadPoolExecutor(len(keys)) as clicks:
            answers = list(clicks.map(lambda key: self.shop.ask(f"/checkout/{key}"), keys))
        for key, answer in zip(keys, answers, strict=True):
            told = self.told.setdefault(key, Told(answer.status_code))
            if answer.status_code not in {200, 409} or answer.status_code != told.checkout:
                self.broken.append(f"told {told.checkout} first, and then {answer.status_code} {answer.text}")

    def _settle(self, key: str, status: str) -> None:
        """Report a payment. The answer says of an order that it is paid, or that it is not, and stays the same."""
        self.acts.clear()
        answer = self.shop.ask(f"/payment_webhook/{key}/{status}")
        order = re.search(r"\b\d+\b", answer.text)
        if answer.status_code not in {200, 409} or order is None:
            self.broken.append(f"{status} was answered with {answer.status_code} {answer.text}")
            return
        now_told = int(order[0]), (status == "paid") == (answer.status_code == 200)
        told = self.told[key]
        told.order = told.order or now_told
        if told.order != now_told or (told.order[1] and told.checkout == 409):
            self.broken.append(f"told {told} first, and then {answer.status_code} {answer.text}")


# --- the tests

Opens = Callable[..., AbstractContextManager[Shop]]


@pytest.fixture(scope="module")
def open_shop(new_database: Callable[[str], Database], public_folder: Path) -> Opens:
    """Serves a store on an empty database: the store's own checkout, or that of a file."""

    @contextmanager
    def opened(backend: str, *arguments: str) -> Iterator[Shop]:
        database = new_database(backend)
        variables = {
            "WIDGET_STORE_DATABASE_URL": database.url,
            "WIDGET_STORE_PAYMENT_TIMEOUT": "0.5",
            "WIDGET_STORE_DISPATCH_INTERVAL": "0.001",
        }
        with (
            serving(public_folder, "--crash-endpoint", *arguments, **variables) as store,
            looking.looking_at(database) as connection,
        ):
            store.client.get("/healthz").raise_for_status()  # two that make the client at once would make two
            yield Shop(store, connection)

    return opened


def tell_stories(shop: Shop, kind: type[Story] = Story, how: settings = STORIES) -> None:
    run_state_machine_as_test(lambda: kind(shop), settings=how)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_story_ends_badly(open_shop: Opens, backend: str) -> None:
    with open_shop(backend) as shop:
        tell_stories(shop)


def steps(failure: AssertionError) -> list[str]:
    """The story with which Hypothesis explains a failure, without the checks after each step."""
    told = [line for line in failure.__notes__ if "state." in line]
    return [line for line in told if not line.startswith(("state.the_books", "state.every_promise", "state.teardown"))]


class Quiet(Story):
    """A story in which nothing crashes, and nobody waits: quickly told, again and again, until it is short."""

    crash = crash_at = restart = restock = pay_late = None  # type: ignore[assignment]


class Interrupted(Story):
    """A story in which the store dies in the midst of steps, and nowhere else: so a short one is soon found."""

    crash = restart = None  # type: ignore[assignment]


def test_a_checkout_that_goes_on_when_sold_out_is_caught_in_the_shortest_story(open_shop: Opens) -> None:
    with (
        open_shop("postgresql", "--app", str(MUTANTS / "missing_return.py")) as shop,
        pytest.raises(AssertionError, match="0 widgets were put on the shelf; 1 is there") as failure,
    ):
        tell_stories(shop, Quiet, settings(STORIES, stateful_step_count=3))
    opens, buys = steps(failure.value)
    assert opens == "state.open_with(widgets=0)"
    assert "state.buy(customers=1)" in buys or "state.double_click()" in buys


def test_a_checkout_of_plain_steps_is_caught_once_it_dies_within_one(open_shop: Opens) -> None:
    unshortened = settings(STORIES, stateful_step_count=4, phases=[Phase.generate])  # shortening takes a crash a try
    with (
        open_shop("postgresql", "--app", str(MUTANTS / "plain_steps.py")) as shop,
        pytest.raises(AssertionError, match=r"which makes|PENDING") as failure,
    ):
        tell_stories(shop, Interrupted, unshortened)
    assert any("crash_at" in step for step in steps(failure.value))
