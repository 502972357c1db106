"""Text that somebody else made, fit to be shown: what a learner's workflow returns, raises, or calls itself.

Such a text may move the cursor of a terminal, turn the direction of a line, end a tag of HTML, be a megabyte long, or
raise an error when it is asked for. Whatever of it goes to a terminal, to a page or to a widget goes through here.
"""

import logging
import re
import traceback
from html import escape
from typing import Any

_LONGEST = 2_000
_LONGEST_LINE = 200
_LONGEST_LOG = 20_000
# Control characters, those that turn the direction of text, those that end a line in some places only, and halves of
# pairs, which no encoding has. New lines and tabs stay; so does what joins the parts of an emoji.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def plain(value: object, at_most: int = _LONGEST) -> str:
    r"""A value as text without control characters: they are written as in Python, `\x1b`. It never raises.

    Args:
        value: Anything; what matters is its `str`.
        at_most: How many characters of it are shown. Behind them, the text says how many there are more.
    """
    try:
        text = str(value).replace("\r\n", "\n")
    except Exception as failure:  # noqa: BLE001 - a learner's __str__ may raise anything
        text = f"({type(value).__name__}: asked for its text, it raised {type(failure).__name__})"
    more = len(text) - at_most
    cut = text if more <= 0 else f"{text[:at_most]}… ({more} more characters)"
    return _UNSAFE.sub(_as_python_writes_it, cut)


def in_a_line(value: object, at_most: int = _LONGEST_LINE) -> str:
    """The same in one line, as for a name or a cell of a table."""
    return re.sub("[\n\t]", _as_python_writes_it, plain(value, at_most))


def failure_in_words(failure: object) -> str:
    """An exception as Python would tell it: `ValueError: no stock`. A database may hold one that can't be read."""
    if not isinstance(failure, BaseException):
        return "an error that can't be read"
    return plain(": ".join(filter(None, [type(failure).__name__, plain(failure)])), 2 * _LONGEST)


def as_html(value: object, at_most: int = _LONGEST) -> str:
    """The same as `plain` for HTML, also for the value of an attribute."""
    return escape(plain(value, at_most))


class PlainRecord(logging.LogRecord):
    """An entry of a log: DBOS and the web server write there what a workflow has raised, traceback included."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = plain("".join(traceback.format_exception(*self.exc_info)).rstrip(), _LONGEST_LOG)

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """The entry's words. An error in their making would be written to the terminal as it is."""
        try:
            return plain(super().getMessage(), _LONGEST_LOG)
        except Exception as failure:  # noqa: BLE001 - a learner's __str__ may raise anything
            return plain(f"(a message without a text: asked for it, it raised {type(failure).__name__})")


def _as_python_writes_it(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode()
