"""The exercises of notebook 13: a letter that is sent once, a refund, and both in the learner's own checkout."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import sqlalchemy as sa

from widget_store.course.checks import Wrong, on_file
from widget_store.course.judging import Kill, Rule, must_be_safe, must_survive, try_points
from widget_store.crashtest.results import Report, Verdict
from widget_store.lab.order_status import status_in_words
from widget_store.lab.scenarios import CANCELLED, DISPATCHED, SCENARIOS, Customer, Scenario
from widget_store.schema import OrderStatus
from widget_store.words import counted

_TIME_FOR_A_REFUND = 5.0  # seconds a step of the dispatch takes: the first is not over when the refund is asked for
_TIME_FOR_STEPS = 0.8  # so much when two are to pass first, and enough are to be left
_LOOK_AGAIN_SECONDS = 0.05
_OF_THE_STORE = (".create_order/", ".reserve_inventory/", ".update_order_progress/")  # they say nothing about letters


def _refunded(customer: Customer) -> None:
    _buy_and_pay(customer)
    customer.expect(customer.post("/refund/anna"), 200, "asking for a refund")
    customer.expect(customer.post("/refund/anna"), 200, "asking for it again")


def _too_late(customer: Customer) -> None:
    customer.buy("anna")
    customer.pay("anna")
    customer.wait_for_end()
    customer.expect(customer.post("/refund/anna"), 409, "asking for a refund after the dispatch")


def _not_paid(customer: Customer) -> None:
    customer.buy("anna")
    customer.pay("anna", "failed")
    customer.expect(customer.post("/refund/anna"), 404, "asking for a refund of what was not paid")


def _two_pay(customer: Customer) -> None:
    for name in ("anna", "bert"):
        customer.expect(customer.buy(name), 200, f"buying, by {name},")
        customer.expect(customer.pay(name), 200, f"paying, by {name},")


def _buy_and_pay(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    # Not `pay`, which notes the promise that the order will be dispatched.
    customer.expect(customer.post("/payment_webhook/anna/paid"), 200, "paying")


_REFUNDED = Scenario("refunded", _refunded, {CANCELLED: 1}, dispatch_interval=_TIME_FOR_A_REFUND)
_TOO_LATE = Scenario("refund after the dispatch", _too_late, {DISPATCHED: 1}, only="http/*")
_NOT_PAID = Scenario("refund of what was not paid", _not_paid, {CANCELLED: 1}, only="http/*")
_TWO_PAY = Scenario("two customers", _two_pay, {DISPATCHED: 2})


@on_file(
    "13",
    asks="confirm each paid order by a letter that is delivered once",
    hint="Write two statements in one transaction: the update of the order, and outbox.insert().values(letter=...). "
    "The key must be the same at each attempt, so make it of values that stay the same. A customer who did not pay "
    "gets no letter.",
)
def confirmation_mail(file: Path) -> str:
    """The letter is owed from the moment the order is PAID; it is sent and noted, whatever is killed."""
    paid = _with_letters(SCENARIOS["paid"], "paid")
    report = try_points(file, paid, _with_letters(_TWO_PAY, "paid"), _with_letters(SCENARIOS["declined"]))
    must_be_safe(report)
    kills = must_survive(file, _kills_of_letters(paid, report))
    return (
        f"Killed at {counted(kills, 'crash point')}: each customer who paid got one letter, the others got none, and "
        "no order is PAID without a letter in the outbox."
    )


@on_file(
    "13",
    asks="let a paid order be refunded until it is dispatched",
    hint="DBOS.recv(REFUND, timeout_seconds=...) waits as DBOS.sleep does, and returns the message if one comes. After "
    "the refund, return: the dispatch is over. Publish OUTCOME at both ends, because the customer waits for it.",
)
def refund(file: Path) -> str:
    """A refund in time, one that comes after some steps, one that is too late, and one of what was never paid."""
    report = try_points(file, _REFUNDED, _TOO_LATE, _NOT_PAID, points=("http/send refund/*",))
    kills = _must_refund(report)
    kills += must_survive(file, _kills_of_refunds(_REFUNDED, report))
    return (
        "Refunded once, never after the dispatch, and never without a payment. This was also true in "
        f"{counted(kills, 'run')} with a crash."
    )


@on_file(
    "13",
    asks="write one checkout with the letter, the refund, and a letter about the refund",
    hint="Use the functions of your two files. refund_and_owe_letter has three statements in one transaction. The two "
    "letters need two names, and two keys.",
)
def capstone(file: Path) -> str:
    """Each state in which a crash can leave a checkout that is paid, and a dispatch that is to be stopped."""
    paid, refunded = _with_letters(SCENARIOS["paid"], "paid"), _with_letters(_REFUNDED, "paid", "refunded")
    report = try_points(file, paid, refunded, _with_letters(_TWO_PAY, "paid"), _with_letters(_NOT_PAID), _TOO_LATE)
    _must_refund(report)
    kills = must_survive(file, [*_kills_of_letters(paid, report), *_kills_of_refunds(refunded, report, _letters_left)])
    return (
        f"Your checkout was killed in {counted(kills, 'state')}, and no crash left a trace. This is the end of the "
        "course."
    )


def _must_refund(report: Report) -> int:
    """As `must_be_safe`. A customer without an answer waits until the time is over: say what is missing instead."""
    for run in report.recorded:
        told = [place for place, point in enumerate(run.reached) if ".set_event outcome/checkpoint/after" in point]
        story = f"In the scenario “{run.scenario}”"
        if run.verdict == Verdict.HUNG and not told:
            raise Wrong(f"{story}, the customer gets no answer about the refund: the dispatch publishes no OUTCOME.")
        if run.scenario == _REFUNDED.name and told:
            if any("order_progress/" in point for point in run.reached[told[0] :]):
                raise Wrong(f"{story}, the dispatch goes on after the refund. Return after the refund.")
            if len(told) > 1:
                raise Wrong(f"{story}, OUTCOME is published twice. Return after the refund.")
    return must_be_safe(report)


# --- what is left right after a death


def _kills_of_letters(story: Scenario, report: Report) -> list[Kill]:
    """A kill after each commit from the payment on; and two in which somebody else does something meanwhile.

    Raises:
        Wrong: When the scenario does not reach what is to be killed.
    """
    points = _points(report, story)
    effects = [point for point in _like("*/effect/after", points) if not any(other in point for other in _OF_THE_STORE)]
    sends = _like("*/*.send/*/after", points)
    if not _like("*.send/effect/after", sends):
        raise Wrong(
            "The letter is not sent by a step of its own. In a transaction, send is a part of that transaction, but a "
            "real letter can't be rolled back. Call send in the workflow."
        )
    paying = effects[0]
    return [
        *(Kill(story, point, _letters_left) for point in points if point in {*effects, *sends}),
        Kill(
            SCENARIOS["paid"],
            paying,
            meanwhile="INSERT INTO outbox (letter, is_sent) VALUES ('paid-99', false)",
            recovered=_only_sent_is_noted,
        ),
        Kill(
            SCENARIOS["paid"],
            paying.replace("/after", "/before"),
            meanwhile="UPDATE orders SET order_status = -1",
            recovered=_still(
                CANCELLED,
                "The order was cancelled just before, but it was marked as PAID anyway. "
                "Check for PENDING in the UPDATE itself.",
            ),
        ),
    ]


def _kills_of_refunds(story: Scenario, report: Report, letters: Rule = lambda _connection: ()) -> list[Kill]:
    """A kill after each commit of the refund; one at a dispatch that has begun; and one that finds it over."""

    def left(connection: sa.Connection) -> Iterator[str]:
        yield from letters(connection)
        yield from _books(connection)

    def told(connection: sa.Connection) -> Iterator[str]:
        yield from left(connection)
        if status := _other_than(CANCELLED, connection):
            yield f'OUTCOME says "refunded", but the order is {status}: refund first, and publish then'

    all_points = _points(report, story)
    published = _like("*.set_event outcome/checkpoint/after", all_points)
    refunding = next(iter(_like("dispatch_order_workflow/*/effect/after", all_points)), None)
    steps = _like("dispatch_order_workflow/*order_progress/effect/after", _points(report, _TOO_LATE))
    if refunding is None or len(steps) < 2:  # it ended well, but not by transactions
        raise Wrong("The dispatch needs a transaction that refunds, and one for each step.")
    points = _like("dispatch_order_workflow/*.*/after", all_points[all_points.index(refunding) :])
    return [
        *(Kill(story, point, left) for point in points if point not in published),
        *(Kill(story, point, told) for point in published),
        _asks_after(steps[1]),
        Kill(
            _REFUNDED,
            refunding.replace("/after", "/before"),
            meanwhile="UPDATE orders SET order_status = 1, progress_remaining = 0",
            recovered=_still(
                DISPATCHED,
                "The order was dispatched just before, but it was refunded anyway. "
                "Check for PAID in the UPDATE itself.",
            ),
        ),
    ]


def _asks_after(step: str) -> Kill:
    """A refund that is asked for after some steps: it is known that they are over when the store is killed there."""
    is_over = threading.Event()

    def story(customer: Customer) -> None:
        _buy_and_pay(customer)
        while not is_over.is_set():  # buying once more changes nothing, and notices the death; it ends in time
            customer.buy("anna")
            time.sleep(_LOOK_AGAIN_SECONDS)
        customer.expect(customer.post("/refund/anna"), 200, "asking for a refund after two of ten steps")

    def left(_connection: sa.Connection) -> tuple[str, ...]:
        is_over.set()
        return ()

    scenario = Scenario("refund after two steps", story, {CANCELLED: 1}, dispatch_interval=_TIME_FOR_STEPS)
    return Kill(scenario, step, left)


def _points(report: Report, story: Scenario) -> list[str]:
    return next(run.reached for run in report.recorded if run.scenario == story.name)


def _like(pattern: str, points: list[str]) -> list[str]:
    return [point for point in points if fnmatchcase(point, pattern)]


def _letters_left(connection: sa.Connection) -> Iterator[str]:
    """What is owed is what has a reason, at any time; and what is sent is what is delivered."""
    owed = set(connection.scalars(sa.text("SELECT letter FROM outbox")))
    for order_id, number in connection.execute(sa.text("SELECT order_id, order_status FROM orders")):
        status, paid, refunded = number, f"paid-{order_id}", f"refunded-{order_id}"
        if status in {OrderStatus.PAID, DISPATCHED} and paid not in owed:
            yield f"the order is {status_in_words(status)}, but {paid} is not in the outbox. Do both in one transaction"
        if status == OrderStatus.PENDING and paid in owed:
            yield f"{paid} is in the outbox, but the order is still PENDING. Do both in one transaction"
        if status == CANCELLED and paid in owed and refunded not in owed:
            yield f"the order is CANCELLED, but {refunded} is not in the outbox. Do both in one transaction"
        if status != CANCELLED and refunded in owed:
            yield f"{refunded} is in the outbox, but the order is still {status.name}. Do both in one transaction"
    for letter in connection.scalars(sa.text("SELECT letter FROM delivered")):
        if letter not in owed:
            yield f"{letter} is delivered, but was never in the outbox"
    yield from (
        f"{letter} is noted as sent, but not delivered. Note it after send" for letter in _only_noted(connection)
    )


def _only_sent_is_noted(connection: sa.Connection) -> Iterator[str]:
    for letter in _only_noted(connection):
        yield f"{letter}, another customer's letter, was still in the outbox. mark_sent noted it as sent, too."


def _only_noted(connection: sa.Connection) -> list[str]:
    noted = "SELECT letter FROM outbox WHERE is_sent AND letter NOT IN (SELECT letter FROM delivered)"
    return list(connection.scalars(sa.text(noted)))


def _books(connection: sa.Connection) -> Iterator[str]:
    sql = "SELECT stock_added - inventory - (SELECT count(*) FROM orders WHERE order_status <> -1) FROM products"
    missing = connection.scalar(sa.text(sql))
    if missing:
        order = "CANCELLED, but its widget is not yet" if missing > 0 else "still PAID, but its widget is already"
        yield f"the order is {order} on the shelf. Do both in one transaction"


def _still(status: OrderStatus, otherwise: str) -> Rule:
    """No order has left this status."""
    return lambda connection: [otherwise] if _other_than(status, connection) else []


def _other_than(status: OrderStatus, connection: sa.Connection) -> str:
    other = "SELECT order_status FROM orders WHERE order_status <> :status"
    return " and ".join(status_in_words(each) for each in connection.scalars(sa.text(other), {"status": int(status)}))


# --- what there is in the end


def _with_letters(scenario: Scenario, *letters: str) -> Scenario:
    """The scenario, in the end of which just these letters about each order were owed, sent and delivered."""
    return replace(scenario, rules=(*scenario.rules, _letters(letters)))


def _letters(about: tuple[str, ...]) -> Rule:
    def rule(connection: sa.Connection) -> Iterator[str]:
        orders = list(connection.scalars(sa.text("SELECT order_id FROM orders")))
        expected = sorted(f"{each}-{order_id}" for order_id in orders for each in about)
        should_be = f"(should be {_in_words(expected)})"
        delivered = sorted(connection.scalars(sa.text("SELECT letter FROM delivered")))
        if delivered != expected:
            yield f"letters: delivered are {_in_words(delivered)} {should_be}"
        owed = connection.execute(sa.text("SELECT letter, is_sent FROM outbox ORDER BY letter"))
        noted = [letter if is_sent else f"{letter} (not sent)" for letter, is_sent in owed]
        if noted != expected:
            yield f"letters: in the outbox are {_in_words(noted)} {should_be}"

    return rule


def _in_words(letters: list[str]) -> str:
    return " and ".join(letters) or "none"
