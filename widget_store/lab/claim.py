"""One notebook at a time: whoever has a store open keeps the other notebooks off its database."""

import threading
import time
from collections.abc import Callable

from widget_store import executors
from widget_store.database import Database
from widget_store.errors import StoreRunning
from widget_store.processes import interrupts_wait
from widget_store.reset import reset_store
from widget_store.settings import read_settings

_GONE_WITHIN_SECONDS = 5.0  # a store whose kernel was restarted a moment ago: its workers end within three
_LOOK_AGAIN_SECONDS = 0.1

_change = threading.RLock()  # the click on a button may run in another thread than the cells
_claims: dict[str, executors.ExecutorIds] = {}  # of this process, by the database's URL
_holders: dict[str, set[int]] = {}  # who of this process shares it


def claim(database: Database, holder: object) -> None:
    """Keep other notebooks off a database, until `let_go`. The stores of one kernel share the claim.

    Do it again before each start: on PostgreSQL, a claim ends with its connection.

    Raises:
        StoreRunning: When another notebook has it.
    """
    _patiently(lambda: _take(database, holder))


def let_go(database: Database, holder: object) -> None:
    """Give a claim back, when its last holder lets go of it. Does no harm when done twice."""
    with interrupts_wait(), _change:
        holders = _holders.get(database.url, set())
        holders.discard(id(holder))
        if not holders and database.url in _claims:
            _claims.pop(database.url).release()


def reset_when_nobody_sells() -> None:
    """Reset the store; wait for processes that are ending: a killed one's session lives a moment longer.

    Call it with the database claimed. Otherwise another notebook can open its store between this and the start.

    Raises:
        StoreRunning: When somebody sells on.
    """
    _patiently(lambda: reset_store(read_settings()))


def _take(database: Database, holder: object) -> None:
    with interrupts_wait(), _change:
        held = _claims.get(database.url)
        if held is None or not held.still_held():
            if held is not None:
                _claims.pop(database.url).release()
            mine = executors.claim_for_notebook(database)
            if mine is None:
                raise StoreRunning("Another notebook has this database.")
            _claims[database.url] = mine
        _holders.setdefault(database.url, set()).add(id(holder))


def _patiently(act: Callable[[], None]) -> None:
    deadline = time.monotonic() + _GONE_WITHIN_SECONDS
    while True:
        try:
            return act()
        except StoreRunning:
            if time.monotonic() > deadline:
                raise StoreRunning(
                    "Another notebook, or a store in a terminal, uses the same database. In the notebook, run "
                    "store.close(), or choose Kernel, Shut Down Kernel from its menu; in the terminal, press Ctrl-C. "
                    "Then run this cell again."
                ) from None
        time.sleep(_LOOK_AGAIN_SECONDS)
