"""The database's machine is lost while customers buy, and a standby takes its place.

The two servers replicate synchronously: a commit is answered once it is on both. So nothing that a customer was told
is lost with the first.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.servers import Server, copied, sql
from tests.support import Books, eventually, serving
from widget_store.database import Database, at_url, has_embedded_postgres
from widget_store.lab import invariants
from widget_store.lab.soak import Crowd

pytestmark = [
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


def test_what_a_customer_was_told_survives_the_loss_of_the_server(
    primary: tuple[Server, URL], standby: Server, public_folder: Path
) -> None:
    server, url = primary
    sql(url, f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'", "SELECT pg_reload_conf()")
    eventually(
        lambda: sql(url, "SELECT sync_state FROM pg_stat_replication") == [("sync",)], "a standby that is waited for"
    )
    hosts = f"{url.query['host']},{standby.folder}"
    either = url.update_query_dict({"host": hosts, "target_session_attrs": "read-write"})
    database: Database = at_url(either.render_as_string(hide_password=False))

    with (
        serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url, WIDGET_STORE_PAYMENT_TIMEOUT="5") as store,
        Crowd(seed=1, size=4) as crowd,
    ):
        crowd.come_to(store.url)
        eventually(lambda: crowd.checkouts >= 10, "customers who have bought something")
        server.lose()
        standby.run("pg_ctl", "-D", standby.folder, "-w", "promote")
        before = crowd.checkouts
        eventually(lambda: crowd.checkouts >= before + 10, "a store that sells again")
        crowd.finish()
        with invariants.looking_at(database) as connection:
            eventually(lambda: invariants.at_rest(connection), "the end of all workflows")
            assert [*invariants.violations(connection), *crowd.violations(connection)] == []
    assert Books(database).violations() == []
