"""Numbers, durations and long sentences, written in one way wherever a learner reads them."""

import textwrap

_WIDTH = 72
"""Characters a line: an output of JupyterLab has room for them, and would break a longer line inside words."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what is counted: "1 widget", "2 widgets".

    Args:
        number: How many.
        one: The word for one of them.
        many: The word for more; that for one with an s by default.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def ordinal(number: int) -> str:
    """The number of a place: "1st", "2nd", "12th"."""
    ends_with_teen = number % 100 in {11, 12, 13}
    return f"{number}{'th' if ends_with_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def duration(seconds: float) -> str:
    """How long something took: in milliseconds below one second."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{seconds:.1f} s"


def wrapped(text: str, indent: str = "") -> str:
    """A text in lines that are broken between words. A line that is broken in it already stays so.

    Args:
        text: The text.
        indent: What each line but the first begins with.
    """
    lines = text.splitlines() or [""]
    return "\n".join(
        textwrap.fill(
            line,
            _WIDTH,
            initial_indent=indent if place else "",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
            drop_whitespace=True,
        )
        for place, line in enumerate(lines)
    )
