"""Those who follow a database: they look until it is closed, and nobody looks while it is being closed."""

import threading
from functools import partial

from tests.support import PATIENCE_SECONDS, eventually
from widget_store.lab.followers import Followers


def no_news(failure: Exception) -> None:
    raise AssertionError(f"nobody was to be told of {failure!r}")


def test_all_look_until_the_end_and_once_more_then() -> None:
    followers, is_open = Followers(), True
    seen: list[list[bool]] = [[], []]
    for looks in seen:
        followers.add(partial(lambda looks: looks.append(is_open), looks), no_news)
    eventually(lambda: all(len(looks) >= 2 for looks in seen), "two looks of each")
    is_open = False
    followers.end()
    assert [looks[-1] for looks in seen] == [False, False]
    after = [len(looks) for looks in seen]
    followers.end()
    assert [len(looks) for looks in seen] == after


def test_an_error_is_told_and_the_next_look_may_succeed() -> None:
    followers = Followers()
    told: list[Exception] = []
    looks: list[None] = []

    def look() -> None:
        looks.append(None)
        if len(looks) == 1:
            raise ZeroDivisionError

    followers.add(look, told.append)
    eventually(lambda: len(looks) >= 2, "a second look")
    followers.end()
    assert [type(failure) for failure in told] == [ZeroDivisionError]


def test_an_error_at_the_end_is_no_news() -> None:
    followers, is_over = Followers(), threading.Event()

    def look() -> None:
        if is_over.is_set():
            raise ZeroDivisionError

    followers.add(look, no_news)
    is_over.set()
    followers.end()


def test_after_an_end_others_may_follow() -> None:
    followers = Followers()
    looks: list[None] = []
    followers.end()
    followers.add(lambda: looks.append(None), no_news)
    eventually(lambda: len(looks) >= 2, "two looks")
    followers.end()


def test_the_end_waits_for_a_look_that_a_click_has_begun() -> None:
    followers, is_looking, may_end, is_ended = Followers(), threading.Event(), threading.Event(), threading.Event()

    def click() -> None:
        with followers.looking():
            is_looking.set()
            may_end.wait(PATIENCE_SECONDS)

    def end() -> None:
        followers.end()
        is_ended.set()

    threads = [threading.Thread(target=click), threading.Thread(target=end)]
    threads[0].start()
    assert is_looking.wait(PATIENCE_SECONDS)
    threads[1].start()
    assert not is_ended.wait(0.2)
    may_end.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert is_ended.is_set()
