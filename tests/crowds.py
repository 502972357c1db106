"""Customers who go on buying while something is broken."""

import contextlib
from collections.abc import Iterator

from tests.support import Serving, eventually
from widget_store.crashtest import looking
from widget_store.databases import Database
from widget_store.lab import invariants
from widget_store.lab.soak import Crowd


@contextlib.contextmanager
def customers(store: Serving, database: Database, checkouts: int = 2) -> Iterator[Crowd]:
    """Customers who buy and pay while the block breaks something. After it, all must be well again.

    The block begins when they have made so many checkouts, and they go home when they have made twice as many more.
    """
    with Crowd(seed=1, size=4) as crowd:
        crowd.come_to(store.url)
        eventually(lambda: crowd.checkouts >= checkouts, "customers who have bought something")
        yield crowd
        before = crowd.checkouts
        eventually(lambda: crowd.checkouts >= before + 2 * checkouts, "a store that sells again")
        crowd.finish()
        with looking.looking_at(database) as connection:
            eventually(lambda: looking.at_rest(connection), "the end of all workflows")
            assert [*invariants.violations(connection), *crowd.violations(connection)] == []
    assert "Traceback" not in (said := store.output.read_text()), said
