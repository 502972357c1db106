"""The bench in the notebook: start a store, use it, crash it, and look at what is left.

Everything here runs in the notebook's kernel. DBOS doesn't: it lives in the store's own process, which is the one that
dies.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widget_store.lab.panels import Lab
    from widget_store.lab.store import Store, StoreRefused

__all__ = ["Lab", "Store", "StoreRefused"]


def __getattr__(name: str) -> Any:
    """Import the names when they are first asked for: a crash test starts hundreds of processes without widgets."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from widget_store.lab import panels, store

    return getattr(panels if name == "Lab" else store, name)
