"""The exercises of notebook 05: write the two endpoints, sign a payment, and say what four reports are answered."""

import ast
import contextlib
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import HTTPException

from widget_store.course.checks import Wrong, on_answer, on_file
from widget_store.course.judging import function_in, must_be_equal, must_be_safe, try_points
from widget_store.crashtest.crash_map import describe
from widget_store.crashtest.looking import looking_at
from widget_store.crashtest.results import Report, Verdict
from widget_store.databases import Database
from widget_store.endpoints import signed_with
from widget_store.lab.crash_test import single_runs
from widget_store.lab.experiment import crash_at
from widget_store.lab.scenarios import CANCELLED, DISPATCHED, SCENARIOS, Answer, Customer, Scenario
from widget_store.plain_text import failure_in_words
from widget_store.words import counted

_SECRET = "the provider's and the store's"  # noqa: S105 - of a judge's store
_FAILED = 500
_CLICKS_WITHIN_SECONDS = 8.0
"""Enough to see that two clicks make two checkouts. One that is only slow has the time of the scenarios."""


@on_file(
    "05",
    asks="write POST /checkout/{key}: one key, one order, and 409 when nothing was ordered",
    hint="Inside `with SetWorkflowID(key):`, DBOS.start_workflow(checkout_workflow, key) starts the checkout, or finds "
    "the one that runs already. DBOS.get_event(key, PAYMENT_ID) waits for the payment id. Raise "
    "HTTPException(409, reason) to refuse.",
)
def checkout_endpoint(file: Path) -> str:
    """Two clicks at once, and a shelf that is empty; the store dies right after the checkout is recorded."""
    _must_have_endpoint(file, "checkout")
    _must_be_one_checkout(file)
    report = try_points(file, "double click", "sold out", points=("http/start checkout_workflow/status/after",))
    _name_the_mistake(
        report,
        {
            "orders: 2": "The second click made a second order, so the key is not the workflow's id.",
            "'None'": "Without a widget there is no payment id: answer with 409 then.",
            "buying what is sold out was answered with": "Answer with 409 when the shelf is empty.",
        },
    )
    survived = must_be_safe(report)
    return (
        "Two clicks at once made one order, and an empty shelf was answered with 409. Both were so, too, in "
        f"{counted(survived, 'run')} in which the store was killed right after it had recorded a checkout."
    )


def _must_be_one_checkout(file: Path) -> None:
    """Two clicks must not make two checkouts, which are there also when the endpoint waits for neither of them.

    The learner is told at once of what stops every scenario: otherwise each would wait for a payment that nobody makes.
    """

    def click_twice(customer: Customer) -> None:
        with ThreadPoolExecutor(2) as both:
            clicks = [click.result() for click in [both.submit(customer.buy, "anna") for _ in range(2)]]
        for click in clicks:
            if click.status >= _FAILED:
                raise Wrong(f"Your endpoint failed: {_detail(click.text)}")
        for payment_id in {click.text for click in clicks}:
            customer.pay(payment_id, "failed")

    def look(database: Database) -> None:
        with looking_at(database) as connection:
            checkouts = "SELECT count(*) FROM dbos.workflow_status WHERE name = 'checkout_workflow'"
            if connection.execute(sa.text(checkouts)).scalar_one() > 1:
                raise Wrong(
                    "Two clicks made two checkouts: the key is only an argument, and not the workflow's id. "
                    "Put `with SetWorkflowID(key):` around the start."
                )

    with single_runs(file, _CLICKS_WITHIN_SECONDS) as runs:
        runs.play(Scenario("double click", click_twice, {CANCELLED: 1}), look=look)


def _one_message(connection: sa.Connection) -> Iterator[str]:
    """However often a report comes, and whatever is killed, it is to be one message."""
    messages = "SELECT count(*) FROM dbos.notifications WHERE destination_uuid = 'anna'"
    if (count := connection.execute(sa.text(messages)).scalar_one()) > 1:
        yield f"messages: the same report is {count} messages in the mailbox"


_REPORTED_TWICE = replace(SCENARIOS["payment reported twice"], rules=(_one_message,))


def _told_the_truth(customer: Customer) -> None:
    """Who reports a payment is told the order's id, which here is 1; who reports the contrary, that it is not so."""
    customer.expect(customer.buy("anna"), 200, "buying")
    answer = customer.pay("anna")
    customer.expect(answer, 200, "paying")
    if answer.status == 200 and answer.text != "1":
        customer.expect(answer, 0, "paying for order 1")
    customer.expect(customer.pay("anna", "failed"), 409, "declining a paid order")
    customer.wait_for_end()
    customer.expect(customer.pay("anna"), 200, "paying again for a dispatched order")
    customer.expect(customer.pay("anna", "failed"), 409, "declining a paid order")


_PAID_THEN_DECLINED = Scenario("paid, then declined", _told_the_truth, {DISPATCHED: 1})


@on_file(
    "05",
    asks="write POST /payment_webhook/{payment_id}/{status}: the order's id, again the same, 409 if it is late",
    hint="DBOS.send(payment_id, status, PAYMENT_STATUS, idempotency_key=…) reports it. DBOS drops a message whose "
    "idempotency key it has seen. DBOS.get_event(payment_id, ORDER_ID) waits until the checkout has settled. Then look "
    "at the order: is it what was reported? A paid order is PAID or DISPATCHED.",
)
def payment_endpoint(file: Path) -> str:
    """A payment that is reported once, twice and too late; the store dies between the message and the answer."""
    _must_have_endpoint(file, "payment_webhook")
    report = try_points(
        file,
        _REPORTED_TWICE,
        "payment after the timeout",
        _PAID_THEN_DECLINED,
        points=("http/send payment_status/message/after", "*/*.mark_order_paid/effect/after"),
    )
    _name_the_mistake(
        report,
        {
            "paying again for a dispatched order was answered with": "A true report was refused: a paid order is PAID "
            "first, and DISPATCHED soon after.",
            "paying for order 1 was answered with 200": "The answer must be the order's id.",
            "paying for a cancelled order was answered with 200": "The customer's payment was lost: "
            "it came after the order was cancelled, and was answered with 200. Answer with 409 then.",
            "declining a paid order was answered with 200": "The order is paid, but a report that its "
            "payment has failed was answered with 200. Answer with 409 then.",
            "paying for a cancelled order was answered with": "Answer with 409 when a payment comes too late.",
            "declining a paid order was answered with": "Answer with 409 when the report contradicts the order.",
            "messages: the same report is": "Each report made another message: DBOS.send needs an "
            "idempotency_key, made of the payment id and the status.",
        },
    )
    survived = must_be_safe(report)
    return (
        "A payment reported once or twice was one message, and was answered with the order's id, also when the "
        "order was dispatched already. A late report and a contradicting one were answered with 409. All this was "
        f"also true in {counted(survived, 'run')} in which the store was killed."
    )


@on_file(
    "05",
    asks="write sign(secret, payment_id, status), the signature that the store asks for",
    hint="Use hmac.new(key, message, hashlib.sha256).hexdigest(). Key and message are bytes, as in 'text'.encode(). "
    "The message is the payment id, a slash, and the status.",
)
def sign_a_payment(file: Path) -> str:
    """The store's own check believes the learner's signatures, and no signature of something else."""
    sign = function_in(file, "sign")
    for payment_id, status in (("anna", "paid"), ("anna", "failed"), ("bert-2", "paid")):
        signature = _call(sign, _SECRET, payment_id, status)
        if not _is_believed(payment_id, status, signature):
            raise Wrong(
                f"The store does not accept your signature of {payment_id}/{status}. "
                f"{_why(sign, payment_id, status, signature)}"
            )
    return (
        "The store accepts your signatures. Another payment, another status or another secret gives another signature."
    )


def _is_believed(payment_id: str, status: str, signature: str) -> bool:
    try:
        signed_with(_SECRET)(payment_id, status, signature)
    except HTTPException:
        return False
    return True


def _why(sign: Callable[..., Any], payment_id: str, status: str, signature: str) -> str:
    if _call(sign, "another secret", "anna", "paid") == _call(sign, _SECRET, "anna", "paid"):
        return "It is the same with another secret, so anyone could make it. The secret must be the key."
    if _call(sign, _SECRET, "anna", "failed") == _call(sign, _SECRET, "anna", "paid"):
        return "The signature of a failed payment is the same, so anyone could use it to report that payment as paid."
    if signature != signature.lower() and _is_believed(payment_id, status, signature.lower()):
        return "Its digits are right, but they must be in lower case."
    if len(signature) != 64 or set(signature.lower()) - set("0123456789abcdef"):
        return f"It has {counted(len(signature), 'character')}, but must be the 64 hexadecimal digits of HMAC-SHA256."
    return _what_it_is(payment_id, status, signature.lower())


def _what_it_is(payment_id: str, status: str, signature: str) -> str:
    """A digest of 64 digits does not say how it was made; the plausible ways can be tried."""
    secret = _SECRET.encode()
    messages = [
        joint.join(parts).encode()
        for joint in ("/", "", ":", "-", "_", ".", " ", ",", "|")
        for parts in ((payment_id, status), (status, payment_id))
    ]
    if signature == hmac.new(messages[0], secret, hashlib.sha256).hexdigest():
        return "Key and message have changed places: the secret is the key."
    if signature in {hmac.new(secret, message, hashlib.sha256).hexdigest() for message in messages}:
        return "It is an HMAC-SHA256, but of another message. The message must be PAYMENT_ID/STATUS, with the slash."
    pairs = [pair for message in messages for pair in ((secret, message), (message, secret))]
    if signature in {hashlib.sha256(joint.join(pair)).hexdigest() for pair in pairs for joint in (b"", b"/", b":")}:
        return "It is a plain SHA-256 of the secret and the message, not an HMAC. Use hmac.new."
    return "It must be the HMAC-SHA256 of PAYMENT_ID/STATUS, with the slash, and with the secret as its key."


@on_answer(
    "05",
    asks="predict how the store answers four reports of payments",
    hint="The order settles once. A report that agrees with it is answered with 200 and the order's id. A report that "
    "contradicts it is refused with 409. A payment for which nothing was bought is unknown: 404.",
)
def four_reports(answer: Any) -> str:
    """Each report is made to a real store."""
    seen: dict[str, int] = {}

    def reports(customer: Customer) -> None:
        for key in ("anna", "bert"):
            customer.buy(key)
        customer.pay("anna")
        customer.pay("bert", "failed")
        told: dict[str, Answer] = {
            "paid, and reported as paid again": customer.pay("anna"),
            "paid, and then reported as failed": customer.pay("anna", "failed"),
            "failed, and then reported as paid": customer.pay("bert"),
            "never bought, and reported as paid": customer.pay("carl"),
        }
        seen.update({what: each.status for what, each in told.items()})

    crash_at(story=Scenario("four reports", reports, {DISPATCHED: 1, CANCELLED: 1}))
    must_be_equal(answer, seen, "the store answered")
    return "Correct. A true report gets the same answer each time. A false one is refused."


# --- what judges here need


def _must_have_endpoint(file: Path, name: str) -> None:
    """The file must have an endpoint of that name: otherwise the store's own would answer, and be judged."""
    if re.search(rf"""router\.post\(\s*["']/{name}/\{{""", file.read_text(encoding="utf-8")) is None:
        raise Wrong(
            f'The file has no @router.post("/{name}/…"), so the store\'s own endpoint would answer. Write yours.'
        )


def _name_the_mistake(report: Report, mistakes: dict[str, str]) -> None:
    """Say what a failure means, when it is one of those that are to be expected; the first of them counts.

    What the learner's endpoint has raised comes before all others: it is the cause of the rest.
    """
    _name_what_was_raised(report)
    for sign, meaning in mistakes.items():
        for failure in report.failures:
            violations = "; ".join(failure.violations)
            if sign in violations:
                raise Wrong(f"{meaning} In the scenario “{failure.scenario}”: {violations}.")
    for failure in report.failures:
        if failure.verdict == Verdict.HUNG:
            where = f", with the store killed {describe(failure.points[-1])}," if failure.points else ""
            violations = "; ".join(failure.violations)
            raise Wrong(f"With your endpoint, the scenario “{failure.scenario}”{where} did not finish: {violations}.")


def _name_what_was_raised(report: Report) -> None:
    for failure in report.failures:
        for violation in failure.violations:
            if raised := _raised(violation):
                raise Wrong(f"In the scenario “{failure.scenario}”, your endpoint failed: {raised}")


def _raised(violation: str) -> str | None:
    """What was raised in the endpoint, if that is what the violation tells of."""
    answered = re.search(r"was answered with 5\d\d, (.+)$", violation, re.DOTALL)
    return None if answered is None else _detail(str(ast.literal_eval(answered[1])))


def _detail(text: str) -> str:
    """What the store says of a failure: FastAPI puts it into JSON."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(text)["detail"])
    return text


def _call(function: Callable[..., Any], *arguments: str) -> str:
    try:
        result = function(*arguments)
    except Exception as failure:  # noqa: BLE001 - whatever it was, it is the learner's
        raise Wrong(f"Your function raised {failure_in_words(failure)}") from None
    if not isinstance(result, str):
        raise Wrong(f"Your function returned {result!r}, but a signature is a text.")
    return result
