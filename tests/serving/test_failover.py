"""The database's machine is lost while customers buy, and a standby takes its place.

When the two replicate synchronously, a commit is answered once it is on both, and nothing that a customer was told is
lost with the first. Otherwise what the standby has not heard of is lost.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.crowds import customers
from tests.servers import Server, copied, sql
from tests.support import DISPATCHED, Books, eventually, new_key, serving
from widget_store.databases import Database, at_url, has_embedded_postgres

pytestmark = [
    pytest.mark.thorough("what happens to servers, not to processes"),
    pytest.mark.slow("copies a database server, loses it and promotes the copy", weight=4),
    pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL on this platform"),
]
STANDBY = "standby"


@pytest.fixture
def standby(primary: tuple[Server, URL], public_folder: Path) -> Iterator[Server]:
    """A copy of the primary that follows it, commit by commit."""
    original, url = primary
    options = ("-c listen_addresses=", f"-c cluster_name={STANDBY}")
    with copied(original, str(url.query["host"]), public_folder, *options, follow=True) as copy:
        yield copy


def at(server: Server, url: URL) -> URL:
    """The same database on another server."""
    return url.update_query_dict({"host": str(server.folder)})


def either_of(url: URL, standby: Server) -> Database:
    """The database on whichever of two servers takes writes."""
    hosts = f"{url.query['host']},{standby.folder}"
    either = url.difference_update_query(["port"]).update_query_dict(
        {"host": hosts, "target_session_attrs": "read-write"}
    )
    return at_url(either.render_as_string(hide_password=False))


def test_what_a_customer_was_told_survives_the_loss_of_the_server(
    primary: tuple[Server, URL], standby: Server, public_folder: Path
) -> None:
    server, url = primary
    sql(url, f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'", "SELECT pg_reload_conf()")
    eventually(
        lambda: sql(url, "SELECT sync_state FROM pg_stat_replication") == [("sync",)], "a standby that is waited for"
    )
    database = either_of(url, standby)

    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url, WIDGET_STORE_PAYMENT_TIMEOUT="5") as store,
        customers(store, database, checkouts=10),
    ):
        server.lose()
        standby.run("pg_ctl", "-D", standby.folder, "-w", "promote")
    assert Books(database).violations() == []


def test_of_a_standby_that_nobody_waits_for_the_last_orders_are_lost_and_lost_whole(
    primary: tuple[Server, URL], standby: Server, public_folder: Path
) -> None:
    server, url = primary
    books = Books(either_of(url, standby))
    caught_up = "SELECT replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication WHERE sync_state = 'async'"
    with serving(
        public_folder, WIDGET_STORE_DATABASE_URL=books.database.url, WIDGET_STORE_PAYMENT_TIMEOUT="5"
    ) as store:
        kept = store.sell(new_key())
        eventually(lambda: store.order_status(kept) == DISPATCHED, "an order that is dispatched")
        eventually(lambda: sql(url, caught_up) == [(True,)], "a standby that has caught up")

        sql(at(standby, url), "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")  # it hears no more
        eventually(lambda: sql(url, "SELECT 1 FROM pg_stat_replication") == [], "a standby that has fallen behind")
        lost_key = new_key()
        lost = store.sell(lost_key)

        server.lose()
        standby.run("pg_ctl", "-D", standby.folder, "-w", "promote")
        eventually(store.sells, "a store that sells again")
        assert store.order_status(kept) == DISPATCHED
        assert store.client.get(f"/order/{lost}").status_code == 404
        assert store.pay(lost_key).status_code == 404  # the bank learns it, and can give the money back
        assert books.violations() == []
