"""What customers do, while the store is killed under them.

A customer is careful: when nobody answers, they ask again with the same key. And what they are told must be true.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from widget_store.schema import FULL_SHELF, OrderStatus

CANCELLED = OrderStatus.CANCELLED
"""How an order may end, for `Scenario.ends`."""
DISPATCHED = OrderStatus.DISPATCHED
"""How an order may end, for `Scenario.ends`."""


@dataclass(frozen=True)
class Answer:
    """What the store told a customer: the HTTP status, and the text of the answer."""

    status: int
    text: str


class Customer(Protocol):
    """What a scenario can do. Each call is repeated until it is answered, whatever dies in between.

    The key is also the payment id.
    """

    def buy(self, key: str) -> Answer:
        """Start a checkout."""

    def pay(self, key: str, status: str = "paid") -> Answer:
        """Report a payment."""

    def restock(self) -> Answer:
        """Fill the shelf."""

    def post(self, path: str) -> Answer:
        """Call any other endpoint, one of your own for example. The invariants do not look at its answer."""

    def wait_for_end(self) -> None:
        """Wait until no workflow is running."""

    def expect(self, answer: Answer, status: int, what: str) -> None:
        """Note a violation when an answer has another status than this. `what` says what the customer did."""


@dataclass(frozen=True)
class Scenario:
    """What customers do, and how it ends, whatever is killed.

    Attributes:
        name: What happens, in a word or two.
        story: A function that does what the customers do. It gets a `Customer`.
        ends: How many orders there are in the end, by status.
        stock: Widgets on the shelf in the beginning.
        payment_timeout: Seconds that a checkout waits for its payment.
        only: A pattern of the crash points that this scenario is about; all of them by default.
        dispatch_interval: Seconds that a dispatch step takes; by default, the shortest that DBOS records.
        rules: More invariants. Each is a function that looks at the database, and yields a sentence for each violation.
    """

    name: str
    story: Callable[[Customer], None]
    ends: Mapping[OrderStatus, int]
    stock: int = FULL_SHELF
    payment_timeout: float = 60.0
    only: str = "*"
    dispatch_interval: float = 0.001
    rules: tuple[Callable[[sa.Connection], Iterable[str]], ...] = ()


def _paid(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    customer.expect(customer.pay("anna"), 200, "paying")


def _declined(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    customer.expect(customer.pay("anna", "failed"), 200, "declining")


def _timeout(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    customer.wait_for_end()


def _sold_out(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 409, "buying what is sold out")


def _double_click(customer: Customer) -> None:
    with ThreadPoolExecutor(2) as both:
        clicks = [click.result() for click in [both.submit(customer.buy, "anna") for _ in range(2)]]
    for click in clicks:
        customer.expect(click, 200, "buying")
    for payment_id in {click.text for click in clicks}:
        customer.expect(customer.pay(payment_id, "failed"), 200, "declining")


def _reported_twice(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    first, second = customer.pay("anna"), customer.pay("anna")
    customer.expect(first, 200, "paying")
    customer.expect(second, 200, "paying again")
    if first.text != second.text:
        customer.expect(second, 0, f"paying again, for order {second.text} instead of {first.text},")


def _late_payment(customer: Customer) -> None:
    _timeout(customer)
    customer.expect(customer.pay("anna"), 409, "paying for a cancelled order")


def _during_dispatch(customer: Customer) -> None:
    _paid(customer)
    customer.expect(customer.buy("bert"), 200, "buying while another order is dispatched")
    customer.expect(customer.pay("bert", "failed"), 200, "declining")


def _restock(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    customer.expect(customer.restock(), 200, "restocking")
    customer.expect(customer.pay("anna", "failed"), 200, "declining")


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("paid", _paid, {DISPATCHED: 1}),
        Scenario("declined", _declined, {CANCELLED: 1}),
        Scenario("payment timeout", _timeout, {CANCELLED: 1}, payment_timeout=0.3),
        Scenario("sold out", _sold_out, {CANCELLED: 1}, stock=0, payment_timeout=0.3),
        Scenario("double click", _double_click, {CANCELLED: 1}),
        Scenario("payment reported twice", _reported_twice, {DISPATCHED: 1}),
        Scenario("payment after the timeout", _late_payment, {CANCELLED: 1}, payment_timeout=0.3),
        Scenario("crash during dispatch", _during_dispatch, {DISPATCHED: 1, CANCELLED: 1}, only="dispatch_*"),
        Scenario("restock in between", _restock, {CANCELLED: 1}),
    )
}
"""The kit's own scenarios, by their names."""
