"""Numbers and sentences as a learner reads them."""

import pytest

from widget_store.words import counted, duration, ordinal, wrapped


@pytest.mark.parametrize(("number", "words"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs")])
def test_one_is_not_many(number: int, words: str) -> None:
    assert counted(number, "run") == words


def test_a_word_may_have_a_plural_of_its_own() -> None:
    assert counted(2, "is", "are") == "2 are"


@pytest.mark.parametrize(
    ("number", "words"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (22, "22nd")]
)
def test_a_place_has_its_ending(number: int, words: str) -> None:
    assert ordinal(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0004, "0 ms"), (0.64, "640 ms"), (0.9996, "1.0 s"), (2.211, "2.2 s"), (90, "90.0 s")]
)
def test_a_duration_is_in_milliseconds_below_one_second(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_text_is_broken_between_words_only() -> None:
    point = f"checkout_workflow/{'a_very_long_name_of_a_step' * 3}/effect/after"
    lines = wrapped(f"✘ It was killed at {point}, and {'then ' * 30}it ended.", "  ").splitlines()
    assert any(point in line for line in lines), "not even a name that is longer than a line"
    assert all(len(line) <= 72 for line in lines if point not in line)
    assert [line.startswith("  ") for line in lines] == [False, *[True] * (len(lines) - 1)]


def test_a_line_that_is_broken_already_stays_so() -> None:
    assert wrapped("It failed.\nThe reason", "  ") == "It failed.\n  The reason"
