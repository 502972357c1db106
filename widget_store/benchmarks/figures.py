"""What was measured, with its unit and its floor; as a table and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

_PER_SECOND = "/s"


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, some number of times.

    Attributes:
        unit: "s", "ms", "MB", or "/s", of which more is better.
        samples: At least one.
        floor: The same without what is measured, in the same unit; None where there is no such thing.
        quantile: Which of the samples is the figure: 0.5 for the median, 0.99 for what one in a hundred exceeds.
    """

    name: str
    unit: str
    samples: Sequence[float]
    floor: float | None = None
    quantile: float = 0.5

    @property
    def value(self) -> float:
        """The median, or what `quantile` says."""
        if self.quantile == 0.5:
            return statistics.median(self.samples)
        return sorted(self.samples)[min(len(self.samples) - 1, int(self.quantile * len(self.samples)))]

    @property
    def middle_half(self) -> tuple[float, float]:
        """Half of the samples lie between these two."""
        ordered, quarter = sorted(self.samples), len(self.samples) // 4
        return ordered[quarter], ordered[-1 - quarter]

    @property
    def ratio(self) -> float | None:
        """How many times as costly as its floor it is: of a rate, how many times as slow."""
        if self.floor is None:
            return None
        return self.floor / self.value if self.unit == _PER_SECOND else self.value / self.floor

    def as_json(self) -> dict[str, str | float | None]:
        """As `widget-store bench --json` prints it."""
        return {
            "name": self.name,
            "value": round(self.value, 2),
            "unit": self.unit,
            "floor": None if self.floor is None else round(self.floor, 2),
            "ratio": None if self.ratio is None else round(self.ratio, 2),
        }


def in_ms(seconds: Sequence[float]) -> list[float]:
    """The same in milliseconds."""
    return [1000 * second for second in seconds]


def table(figures: Sequence[Figure]) -> Table:
    """The figures for a reader."""
    rows = Table(
        "figure", caption="Half of the samples lie in the spread. The ratio: how many times its floor it costs."
    )
    for column in ("value", "unit", "spread", "samples", "floor", "ratio"):
        rows.add_column(column, justify="right")
    for figure in figures:
        low, high = figure.middle_half
        rows.add_row(
            figure.name,
            f"{figure.value:.2f}",
            figure.unit,
            f"{low:.2f}-{high:.2f}" if len(figure.samples) > 1 and figure.quantile == 0.5 else "",
            str(len(figure.samples)),
            "" if figure.floor is None else f"{figure.floor:.2f}",
            "" if figure.ratio is None else f"{figure.ratio:.1f}",
        )
    return rows
