"""Text that somebody else made, fit to be shown."""

import logging
import unicodedata

import pytest

from widget_store.errors import WidgetStoreError
from widget_store.plain_text import PlainRecord, as_html, failure_in_words, in_a_line, plain

_StrangeError = type("\x1b[31m", (Exception,), {})


class _Mute:
    def __str__(self) -> str:
        raise _StrangeError("\x1b[31m")


class _MuteError(Exception):
    __str__ = _Mute.__str__


@pytest.mark.parametrize("category", ["Cc", "Cs", "Zl", "Zp"])
def test_no_character_that_controls_something_is_left(category: str) -> None:
    controlling = {chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == category}
    assert controlling & set(plain("".join(controlling), 10_000)) <= {"\n", "\t"}
    assert not controlling & set(in_a_line("".join(controlling), 10_000))


@pytest.mark.parametrize("turns", list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
def test_nothing_turns_the_direction_of_a_line(turns: str) -> None:
    assert plain(f"a{turns}b") == f"a\\u{ord(turns):04x}b"


def test_letters_of_every_script_and_emoji_made_of_several_stay() -> None:
    assert plain("naïve Überraschung שלום 漢字 👩‍🚀\n\tindented") == "naïve Überraschung שלום 漢字 👩‍🚀\n\tindented"


def test_what_is_plain_already_stays_as_it_is() -> None:
    assert plain(plain("\x1b[31m\r\n\x00")) == plain("\x1b[31m\r\n\x00") == "\\x1b[31m\n\\x00"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert plain("x" * 10_000, 5) == "xxxxx… (9995 more characters)"


def test_a_value_without_a_text_is_told_by_its_type() -> None:
    assert plain(_Mute()) == "(_Mute: asked for its text, it raised \\x1b[31m)"
    assert plain(10**6000) == "(int: asked for its text, it raised ValueError)"


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ValueError("no stock"), "ValueError: no stock"),
        (ValueError(), "ValueError"),
        (_MuteError(), "_MuteError: (_MuteError: asked for its text, it raised \\x1b[31m)"),
        (_StrangeError("!"), "\\x1b[31m: !"),
        ("gASVCAAAAAAAAACM", "an error that can't be read"),
    ],
)
def test_an_exception_is_told_as_python_would(failure: object, words: str) -> None:
    assert failure_in_words(failure) == words


def test_html_is_escaped_also_in_the_value_of_an_attribute() -> None:
    assert as_html("<b a=\"1\" b='2'>&\x1b") == "&lt;b a=&quot;1&quot; b=&#x27;2&#x27;&gt;&amp;\\x1b"


def test_an_error_of_ours_writes_out_what_a_learner_put_into_it() -> None:
    assert str(WidgetStoreError("your file says:\n\x1b[2J")) == "your file says:\n\\x1b[2J"


def test_a_log_has_no_control_characters_in_its_words_nor_in_its_traceback() -> None:
    try:
        raise ValueError("\x1b[31m in the traceback")
    except ValueError as failure:
        error = (ValueError, failure, failure.__traceback__)
    record = PlainRecord("dbos", logging.ERROR, __file__, 1, "failed: %s", ("\x1b[32m",), error)
    text = logging.Formatter().format(record)
    assert "failed: \\x1b[32m" in text
    assert "ValueError: \\x1b[31m in the traceback" in text
    assert "\x1b" not in text


def test_an_entry_whose_words_cant_be_made_is_told_as_that() -> None:
    record = PlainRecord("dbos", logging.ERROR, __file__, 1, "failed: %s", (_Mute(),), None)
    assert record.getMessage() == "(a message without a text: asked for it, it raised \\x1b[31m)"
