"""The status of an order in words, whatever a learner's SQL has put there."""

from widget_store.plain_text import in_a_line
from widget_store.schema import OrderStatus


def status_in_words(status: object) -> str:
    """The status of an order; a learner's SQL may have set one that does not exist."""
    try:
        return OrderStatus(status).name  # type: ignore[arg-type]  # whatever it is
    except ValueError:
        return f"{in_a_line(status)} (not a status)"
