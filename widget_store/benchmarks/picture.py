"""Figures of the benchmarks as bars in a notebook, from the JSON that `widget-store bench --json` prints."""

import json
from html import escape
from pathlib import Path
from typing import Any

from IPython.display import HTML

from widget_store.course.files import notebooks

_LONGEST_BAR = 30  # letters
_BAR = "█"
_STYLE = """
.ws-figures th { text-align: left; font-weight: 400; }
.ws-figures td { text-align: left; white-space: nowrap; }
.ws-figures td:nth-child(2) { color: var(--jp-brand-color1, #1668a8); letter-spacing: -1px; }
"""


def bench_picture(file: str | Path, *beginnings: str) -> HTML:
    """Show figures of the benchmark, each with a bar. Bars of one unit can be compared.

    It is a table of text. So it can also be read where a notebook is not trusted, and styles and SVG are taken out.

    Args:
        file: What `widget-store bench --json` has printed. A relative path may start in the folder of the lessons.
        beginnings: How the names of the figures begin, in the order in which they are shown; all figures by default.

    Raises:
        OSError: When there is no such file.
        ValueError: When it holds no such figures.
    """
    place = Path(file)
    if not place.is_absolute() and not place.exists():  # the lesson is run in another folder
        place = notebooks() / place
    measured = json.loads(place.read_text(encoding="utf-8"))
    figures = [each for beginning in beginnings or ("",) for each in measured if each["name"].startswith(beginning)]
    if not figures:
        raise ValueError(f"{file} holds no figure whose name begins with {' or '.join(beginnings)}.")
    longest: dict[str, float] = {}
    for each in figures:
        longest[each["unit"]] = max(each["value"], longest.get(each["unit"], 0.0))
    rows = "".join(_row(each, each["value"] / longest[each["unit"]]) for each in figures)
    return HTML(f'<style>{_STYLE}</style><table class="ws-figures">{rows}</table>')  # type: ignore[no-untyped-call]


def _row(figure: dict[str, Any], share: float) -> str:
    bar = _BAR * max(1, round(_LONGEST_BAR * share))
    return (
        f'<tr><th scope="row">{escape(str(figure["name"]))}</th><td aria-hidden="true">{bar}</td>'
        f"<td>{escape(_told(figure))}</td></tr>"
    )


def _told(figure: dict[str, Any]) -> str:
    unit = figure["unit"]
    value = f"{figure['value']:.3g}{unit}" if unit == "/s" else f"{figure['value']:.3g} {unit}"
    return value if figure["ratio"] is None else f"{value}, {figure['ratio']:.0f} times its floor"
