"""The exercises of notebook 10: a letter that is sent once, a refund, and both in the learner's own checkout."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from widget_store.lab.checks import Wrong, on_file
from widget_store.lab.crash_run import Verdict
from widget_store.lab.crash_test import Report
from widget_store.lab.experiment import PointNotMet, crash_at
from widget_store.lab.judging import must_be_safe, try_points
from widget_store.lab.scenarios import CANCELLED, DISPATCHED, SCENARIOS, Customer, Scenario

_TIME_FOR_A_REFUND = 5.0  # seconds a step of the dispatch takes: the first is not over when the refund is asked for


def _refunded(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    # Not `pay`, which notes the promise that the order will be dispatched.
    customer.expect(customer.post("/payment_webhook/anna/paid"), 200, "paying")
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


_REFUNDED = Scenario("refunded", _refunded, {CANCELLED: 1}, dispatch_interval=_TIME_FOR_A_REFUND)
_TOO_LATE = Scenario("refund after the dispatch", _too_late, {DISPATCHED: 1}, only="http/*")
_NOT_PAID = Scenario("refund of what was not paid", _not_paid, {CANCELLED: 1}, only="http/*")


@on_file(
    "10",
    asks="confirm each paid order by a letter, and have it delivered once",
    hint="Two statements in one transaction: the update of the order, and outbox.insert().values(letter=...). A key "
    "that is the same at each attempt is made of what is the same at each attempt. Who did not pay gets no letter.",
)
def confirmation_mail(file: Path) -> str:
    """The letter is owed in the moment in which the order is PAID; it is sent and noted, whatever is killed."""
    report = try_points(
        file,
        _with_letters(SCENARIOS["paid"], "paid"),
        _with_letters(SCENARIOS["declined"]),
        points=("checkout_workflow/*.mark_*/effect/after", "checkout_workflow/*.send/*/after"),
    )
    kills = must_be_safe(report)
    try:
        left = crash_at("*/*.mark_paid_and_owe_letter/effect/after", app=file).left[0]
    except PointNotMet:
        raise Wrong("A purchase that is paid does not come by mark_paid_and_owe_letter.") from None
    if list(left.orders["status"]) == ["PAID"] and left.own_tables["outbox"].empty:
        raise Wrong("Killed right after mark_paid_and_owe_letter, the order is PAID, and the outbox does not know.")
    return f"Killed in {kills} places: who paid got one letter, who did not got none, and no order is PAID without one."


@on_file(
    "10",
    asks="let a paid order be refunded until it is dispatched",
    hint="DBOS.recv(REFUND, timeout_seconds=...) waits as DBOS.sleep does, and returns the message if one comes. After "
    "the refund the dispatch is over. Publish OUTCOME at both ends: the customer waits for it.",
)
def refund(file: Path) -> str:
    """A refund in time, one that comes too late, and one of an order that was never paid."""
    points = ("dispatch_order_workflow/[3-9].*/after", "http/send refund/*")
    kills = _must_refund(try_points(file, _REFUNDED, _TOO_LATE, _NOT_PAID, points=points))
    return f"Refunded once, never after the dispatch and never unpaid; so it was in the {kills} runs that were killed."


@on_file(
    "10",
    asks="put it all into one checkout: the letter, the refund, and a letter about the refund",
    hint="Take the functions of your two files. refund_and_owe_letter has three statements in one transaction. The "
    "two letters need two names, and two keys.",
)
def capstone(file: Path) -> str:
    """Each state in which a crash can leave a checkout that is paid, and a dispatch that is to be broken off."""
    report = try_points(
        file,
        replace(_with_letters(SCENARIOS["paid"], "paid"), only="checkout_workflow/*"),
        replace(_with_letters(_REFUNDED, "paid", "refunded"), only="dispatch_order_workflow/*"),
        _with_letters(_NOT_PAID),
        points=("checkout_workflow/[6-9].*/before", "dispatch_order_workflow/[3-9].*/before"),
    )
    kills = _must_refund(report)
    return f"Your checkout was killed in {kills} states, and nobody could tell. That is the end of the course."


def _must_refund(report: Report) -> int:
    """As `must_be_safe`. Who is told nothing waits until the time is over: say what is missing instead."""
    for run in report.recorded:
        is_told = any(".set_event outcome/" in point for point in run.reached)
        if run.verdict == Verdict.HUNG and not is_told:
            raise Wrong(
                f"In the story “{run.scenario}”, who wants a refund waits in vain: the dispatch publishes no OUTCOME."
            )
    return must_be_safe(report)


def _with_letters(scenario: Scenario, *letters: str) -> Scenario:
    """The scenario, in the end of which just these letters about its one order were owed, sent and delivered."""
    return replace(scenario, rules=(*scenario.rules, _letters(letters)))


def _letters(about: tuple[str, ...]) -> Callable[[sa.Connection], Iterator[str]]:
    def rule(connection: sa.Connection) -> Iterator[str]:
        order_id = connection.scalar(sa.text("SELECT max(order_id) FROM orders"))  # 2 if it died creating order 1
        expected = sorted(f"{each}-{order_id}" for each in about)
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
