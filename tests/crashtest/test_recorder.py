"""The service outside: what it answers to a call that comes again, and what it takes for an effect."""

from collections.abc import Iterator

import httpx
import pytest

from widget_store.crashtest import Answer, Request
from widget_store.crashtest.recorder import KEY, Recorder


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()


def pay(url: str, key: str = "") -> httpx.Response:
    headers = {KEY: key} if key else {}
    return httpx.post(f"{url}/payments", json={"amount": 30}, headers=headers, trust_env=False)


def test_a_call_with_a_known_key_is_answered_as_before_and_is_no_second_effect(recorder: Recorder) -> None:
    with recorder.for_a_run(lambda request: Answer(200, {"number": request.number})) as (url, log):
        assert [pay(url, "k").json(), pay(url, "k").json(), pay(url).json()] == [
            {"number": 1},
            {"number": 1},
            {"number": 2},
        ]
        assert [effect.path for effect in log.effects] == ["/payments", "/payments"]


def test_a_call_that_failed_may_be_made_again_with_the_same_key(recorder: Recorder) -> None:
    answers = iter([Answer(503, {}), Answer(200, {"paid": True})])

    def answer(_request: Request) -> Answer:
        return next(answers)

    with recorder.for_a_run(answer) as (url, log):
        assert [pay(url, "k").status_code for _ in range(3)] == [503, 200, 200]
        assert len(log.effects) == 1


def test_runs_side_by_side_do_not_see_each_others_calls(recorder: Recorder) -> None:
    def answer(request: Request) -> Answer:
        return Answer(200, request.number)

    with recorder.for_a_run(answer) as (one, of_one), recorder.for_a_run(answer) as (other, of_other):
        pay(one)
        assert (len(of_one.effects), len(of_other.effects)) == (1, 0)
        assert pay(other).json() == 1
    assert pay(one).status_code == 404
