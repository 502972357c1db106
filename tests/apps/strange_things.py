"""What a strange checkout returns, raises and is called, by the keys of its customers."""

from collections.abc import Callable

HOSTILE = "\x1b[31m<script>alert(1)</script>\u202e\x07\r\x9b2J[/bold]🧨"
"""Colours, a tag, text from right to left, a bell, a start of the line, a C1 control, rich's markup, and an emoji."""


class Unspeakable:
    """An object without a text."""

    def __repr__(self) -> str:
        raise RuntimeError(HOSTILE)


class UnspeakableError(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError(HOSTILE)


RETURNED: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "empty": lambda: "",
    "dict": lambda: {"order": HOSTILE},
    "nan": lambda: float("nan"),
    "huge-text": lambda: "x" * 3_000_000,
    "huge-number": lambda: 10**6000,
    "half-a-pair": lambda: "\ud83e",
    "hostile": lambda: HOSTILE,
    "nul": lambda: "a\0b",
    "lines": lambda: "one\ntwo\r\n\tthree",
    "unspeakable": Unspeakable,
    "other-digits": lambda: "²",
}
RAISED: dict[str, Callable[[], Exception]] = {
    "raise-hostile": lambda: ValueError(HOSTILE),
    "raise-nul": lambda: ValueError("a\0b"),
    "raise-lines": lambda: ValueError("one\ntwo\r\n\tthree"),
    "raise-huge": lambda: ValueError("x" * 1_000_000),
    "raise-without-words": ValueError,
    "raise-unspeakable": UnspeakableError,
    "raise-half-a-pair": lambda: ValueError("\ud83e"),
    "raise-a-strange-type": lambda: STRANGE_ERROR("!"),
}
NAMES = {
    "named-hostile": HOSTILE,
    "named-long": "n" * 10_000,
    "named-emoji": "👩‍🚀 to the moon",
    "named-right-to-left": "\u202eredro\u200f",
    "named-like-a-point": "a/b#2.c/d [1] * ?",
    "named-like-a-command": '"; $(touch owned) `touch owned`',
    "named-in-lines": "one\ntwo",
}
STRANGE_ERROR: type[Exception] = type(HOSTILE, (Exception,), {})
STRANGE_ERROR.__module__ = __name__
globals()[HOSTILE] = STRANGE_ERROR  # so that it can be pickled
