"""Figures of the benchmarks as a picture in a notebook, from the JSON that `widget-store bench --json` prints."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from IPython.display import HTML

from widget_store.course.files import notebooks

_WIDTH, _LABELS, _BARS, _ROW = 900, 330, 260, 26
_STYLE = """
.ws-figures { min-width: 680px; max-width: 900px; width: 100%; color: var(--jp-ui-font-color1, #212121);
font: 13px system-ui, sans-serif; }
.ws-figures text { fill: currentColor; }
.ws-figures rect { fill: var(--jp-brand-color1, #1668a8); }
"""


def bench_picture(file: str | Path, *beginnings: str) -> HTML:
    """The figures whose names begin so, in that order, each with a bar; bars of one unit can be compared.

    Args:
        file: What `widget-store bench --json` has printed; a relative path may start in the folder of the lessons.
        beginnings: How their names begin; without any, all figures.

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
    rows = [_row(place, each, each["value"] / longest[each["unit"]]) for place, each in enumerate(figures)]
    height = _ROW * len(rows) + 4
    picture = (
        f'<div style="overflow-x: auto"><svg class="ws-figures" viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' aria-label="{escape(_sentence(figures))}"><style>{_STYLE}</style>{"".join(rows)}</svg></div>'
    )
    return HTML(picture)  # type: ignore[no-untyped-call]


def _row(place: int, figure: dict[str, Any], share: float) -> str:
    middle = _ROW * place + _ROW // 2 + 5
    return (
        f'<text x="0" y="{middle}">{escape(str(figure["name"]))}</text>'
        f'<rect x="{_LABELS}" y="{middle - 13}" width="{max(1.0, _BARS * share):.0f}" height="17"/>'
        f'<text x="{_LABELS + _BARS * share + 10:.0f}" y="{middle}">{escape(_told(figure))}</text>'
    )


def _told(figure: dict[str, Any]) -> str:
    unit = figure["unit"]
    value = f"{figure['value']:.3g}{unit}" if unit == "/s" else f"{figure['value']:.3g} {unit}"
    return value if figure["ratio"] is None else f"{value}, {figure['ratio']:.0f} times its floor"


def _sentence(figures: Sequence[dict[str, Any]]) -> str:
    return "Measured. " + "; ".join(f"{each['name']}: {_told(each)}" for each in figures) + "."
