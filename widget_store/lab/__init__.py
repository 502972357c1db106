"""The bench in the notebook: start a store, use it, crash it, and look at what is left.

Everything here runs in the notebook's kernel. DBOS doesn't: it lives in the store's own process, which is the one that
dies.
"""

from widget_store.lab.panels import Lab
from widget_store.lab.store import Store, StoreRefused

__all__ = ["Lab", "Store", "StoreRefused"]
