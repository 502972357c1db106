"""The exercises of notebook 06: retry a charge, make it once, undo it while the provider is down, stop a poison."""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from widget_store.course.checks import SOLUTIONS, Wrong, on_answer, on_file
from widget_store.course.judging import must_be_equal
from widget_store.course.shop_and_provider import Shop, shop_with

_A_PATIENT_CUSTOMER_SECONDS = 8.0
_MANY_ATTEMPTS, _OUTAGE_SECONDS = 20, 3.0
_TOO_MANY_DEATHS = 8
_OUT_OF_ATTEMPTS = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"


@on_file(
    "06",
    asks="retry a charge when that may help, and only then; undo what was done when it is hopeless",
    hint="Retries need retries_allowed=True, max_attempts=… and a short interval_seconds in @DBOS.step(…). "
    "should_retry is a function that gets the error, and returns whether another attempt may help. In the workflow, "
    "try: charge(key); in except Exception, give the widget back and cancel the order.",
)
def retry_the_charge(file: Path) -> str:
    """A provider that is well, down for two requests, down for good, and one that refuses a card."""
    with shop_with(file) as shop:
        shop.buy("anna")
        shop.must_end("anna", "PAID", "The provider is well")

        shop.provider.behave("down", times=2)
        shop.buy("bert")
        shop.must_end("bert", "PAID", "The provider answered 503 to two requests, and was well again")

        shop.provider.behave("refuse")
        shop.buy("carl")
        asked = _times_asked(shop, "carl", "The bank refused a card")
        if asked > 1:
            raise Wrong(
                f"The bank refused a card, and your step asked {asked} times. To ask again never helps there: "
                "should_retry must return False for that error."
            )
        shop.must_end("carl", "CANCELLED", "The bank refused a card")

        shop.provider.behave("down")
        shop.buy("dora")
        asked = _times_asked(shop, "dora", "The provider was down, and did not come back")
        shop.must_end("dora", "CANCELLED", f"The provider was down, and {asked} requests got 503")
    return (
        f"After two answers of 503, a charge succeeded. A refused card was asked for once. After {asked} answers of "
        "503, the widget went back on the shelf, and the order was cancelled."
    )


def _times_asked(shop: Shop, key: str, when: str) -> int:
    """How often the provider was asked before the checkout ended, which must be soon."""
    try:
        shop.ending(key, within=_A_PATIENT_CUSTOMER_SECONDS)
    except Wrong:
        asked = len(shop.requests(key, settled=False))
        raise Wrong(
            f"{when}. After {_A_PATIENT_CUSTOMER_SECONDS:.0f} s and {asked} requests, the checkout still tries, and a "
            "customer waits. Let it give up sooner."
        ) from None
    return len(shop.requests(key))


@on_file(
    "06",
    asks="charge once, however often the provider is asked",
    hint="Send the header Idempotency-Key. It must be the same in each attempt, also after a crash, and another one "
    "for each purchase. What does the step know that is so?",
)
def charge_once(file: Path) -> str:
    """An answer that is lost; a store that dies while the provider answers; and customers who are not the same."""
    with shop_with(file) as shop:
        shop.provider.behave("lose the answer", times=1)
        shop.buy("anna")
        shop.must_end("anna", "PAID", "An answer was lost")
        _must_be_taken_once(shop, "anna", "An answer was lost")

        shop.provider.behave("slow", times=1, seconds=1.0)
        shop.buy("bert")
        shop.wait(partial(shop.was_asked, "bert", 1))
        shop.kill()
        shop.start()
        shop.must_end("bert", "PAID", "The store died before it got the answer")
        if len(shop.requests("bert")) < 2:
            raise Wrong("The store died before it got the answer, and your checkout did not ask again.")
        _must_be_taken_once(shop, "bert", "The store died before it got the answer")

        shop.buy("carl")
        shop.must_end("carl", "PAID", "The provider is well")
        _must_be_taken_once(shop, "carl", "The provider is well")
    return (
        "A lost answer, and a store that died while it waited: each time the provider was asked twice, and took the "
        "money once. Another customer was charged, too."
    )


def _must_be_taken_once(shop: Shop, key: str, when: str) -> None:
    requests = shop.requests(key)
    taken = list(requests["money"]).count("taken")
    if taken == 1:
        return
    keys = requests["idempotency key"]
    if taken == 0:
        raise Wrong(
            f"{key.capitalize()} was never charged: the provider knew the idempotency key {keys.iloc[0]!r} from "
            "another purchase. It must be another one for each."
        )
    sent = "no request had an Idempotency-Key" if not any(keys) else f"the keys were {' and '.join(map(repr, keys))}"
    raise Wrong(f"{when}, and the provider took the money {taken} times: {sent}. All attempts must send the same key.")


_ANSWERS_AFTER_SECONDS = 1.0
_IMPATIENT = {"trust_env=False)": "trust_env=False, timeout=0.3)", "max_attempts=4": "max_attempts=3"}
"""What the lesson changes in the file of the exercise before: each text, and what takes its place."""


@on_answer(
    "06",
    asks="predict what a provider took that answers too late, three times",
    hint="The provider takes the money, and answers when nobody listens any more. What does the step do after each "
    "timeout? Is there an idempotency key? Attempts are no checkpoints: the step has one, when it is over.",
)
def what_was_taken(answer: Any) -> str:
    """The checkout of the lesson, with three attempts of 0.3 s, and a provider that takes a second to answer."""
    with tempfile.TemporaryDirectory() as folder, shop_with(_impatient(Path(folder))) as shop:
        shop.provider.behave("slow", seconds=_ANSWERS_AFTER_SECONDS)
        shop.buy("anna")
        shop.ending("anna")
        requests = shop.requests("anna")
        truth = {
            "requests": len(requests),
            "times the money was taken": list(requests["money"]).count("taken"),
            "checkpoints of charge": [step.name for step in shop.state.steps_of("anna")].count("charge"),
            "order": shop.order("anna"),
        }
    must_be_equal(answer, truth, "the provider's log and the database have")
    return "Correct. Each timeout ended the waiting, and not the charge. The store knows of none of the three."


def _impatient(folder: Path) -> Path:
    source = (SOLUTIONS / "start" / "charge_once.py").read_text(encoding="utf-8")
    for old, new in _IMPATIENT.items():
        assert old in source  # noqa: S101 - the lesson's file, which has it
        source = source.replace(old, new)
    file = folder / "impatient.py"
    file.write_text(source, encoding="utf-8")
    return file


@on_file(
    "06",
    asks="undo a checkout whose refund fails, again and again",
    hint="Which of the three compensations needs the provider? Do the other two before it: then they do not wait. Let "
    "refund try for as long as an outage takes: a million attempts, with backoff_rate=1.",
)
def undo_all_of_it(file: Path) -> str:
    """The answers of a charge are lost, and then refunds fail: many times, and for as long as the judge looks."""
    with shop_with(file) as shop:
        shop.provider.behave("lose the answer", only="charge")
        shop.buy("anna")
        shop.must_end("anna", "CANCELLED", "The answers of a charge were lost")
        _must_be_given_back(shop, "anna", "The answers of a charge were lost")

        shop.provider.behave("down")
        shop.buy("bert")
        _must_undo_its_own(shop, "bert")
        shop.kill()
        shop.provider.behave("well")
        shop.start()
        shop.must_end("bert", "CANCELLED", "The provider was down, and the store died")
        shop.wait(shop.is_at_rest)
        if "200" not in set(_refunds(shop, "bert")["answer"]):
            raise Wrong("The provider was down, and then well again, but no refund ever reached it.")
    return (
        "While the provider was down, the widget went back on the shelf and the order was cancelled. The refund "
        "waited, also while the store was dead, and was made when the provider was back."
    )


def _must_undo_its_own(shop: Shop, key: str) -> None:
    """The store's own part must not wait for the provider, and the refund must wait."""
    deadline = time.monotonic() + _OUTAGE_SECONDS
    shop.wait(lambda: len(_refunds(shop, key)) >= _MANY_ATTEMPTS or shop.is_at_rest() or time.monotonic() > deadline)
    if shop.has_ended(key) and shop.ending(key) != "SUCCESS":
        raise Wrong(
            f"The provider was down. The refund failed, and with it the workflow, which ended as {shop.ending(key)}. "
            f"The order is {shop.order(key)}, and the money will never be given back."
        )
    if shop.is_at_rest():
        raise Wrong(
            "The provider was down, and the checkout ended before a refund was answered. Perhaps the money was taken, "
            "and nobody will give it back. Let refund try on."
        )
    if shop.order(key) != "CANCELLED" or shop.state.books()["missing"]:
        raise Wrong(
            f"The provider was down, and refund was tried {len(_refunds(shop, key))} times. All this time the order "
            f"was {shop.order(key)}, and its widget was held for nobody. Do first what needs no provider."
        )


def _refunds(shop: Shop, key: str) -> pd.DataFrame:
    return shop.requests(key, settled=False).query("what == 'refund'")


def _must_be_given_back(shop: Shop, key: str, when: str) -> None:
    shop.wait(shop.is_at_rest)
    money = list(shop.requests(key)["money"])
    if money.count("taken") and not any(each.startswith("given back") for each in money):
        raise Wrong(f"{when}. The money was taken, and not given back.")


@on_file(
    "06",
    asks="stop a workflow that ends its process each time, and keep one that was unlucky",
    hint="@DBOS.workflow(max_recovery_attempts=…) is how often a workflow is recovered at most. Two crashes can happen "
    "to any order. Eight in a row are no accident.",
)
def limit_the_poison(file: Path) -> str:
    """A workflow that ends its process each time, and one whose process is killed twice by somebody else."""
    with shop_with(file) as shop:
        shop.provider.behave("slow", seconds=_ANSWERS_AFTER_SECONDS, times=2)
        shop.buy("anna")
        for asked in (1, 2):
            shop.wait(partial(shop.was_asked, "anna", asked))
            shop.kill()
            shop.start()
        if shop.ending("anna") == _OUT_OF_ATTEMPTS:
            raise Wrong(
                "Anna's process was killed twice, by no fault of hers, and her order was given up. "
                "Allow more recoveries."
            )
        shop.must_end("anna", "PAID", "Anna's process was killed twice, by no fault of hers")

        shop.buy("bert")
        deaths = 0
        while not shop.has_ended("bert") and deaths < _TOO_MANY_DEATHS:
            deaths += shop.dies_before_it_ends("bert")
        if not shop.has_ended("bert"):
            raise Wrong(f"Bert's order has ended {deaths} processes, and is recovered again and again. Limit that.")
        if shop.ending("bert") != _OUT_OF_ATTEMPTS:
            raise Wrong(
                f"Bert's order ended as {shop.ending('bert')}. The fault is in a library, which you can't repair: "
                "leave print_receipt as it was, and limit how often the workflow is recovered."
            )
        shop.buy("carl")
        shop.must_end("carl", "PAID", "Bert's order was given up")
    return (
        f"Bert's order has ended {deaths} processes, and was given up. Anna's outlived two crashes, and Carl could buy."
    )
