"""A fault-tolerant widget store on DBOS: whatever is killed, a checkout goes on from its last step."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widget_store.exactly_once import sql_session, transaction

__all__ = ["sql_session", "transaction"]


def __getattr__(name: str) -> Any:
    """Import the names when they are first asked for: `widget-store doctor` runs where DBOS is missing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from widget_store import exactly_once

    return getattr(exactly_once, name)
