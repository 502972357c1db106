"""What a lesson reads of the database in its own words, and what it does to workflows from outside."""

import pytest
import sqlalchemy as sa

from tests.support import new_key
from widget_store.lab import Store

pytestmark = pytest.mark.slow("each database has a store process of its own, which takes two seconds to start")


def test_a_query_finds_the_stores_tables_and_those_of_dbos(store: Store) -> None:
    key = new_key()
    order_id = store.decline(store.buy(key))
    (status,) = store.state.query("SELECT order_status FROM orders WHERE order_id = :id", id=order_id)["order_status"]
    assert status == -1
    with_schema = "SELECT name, status FROM dbos.workflow_status WHERE workflow_uuid = :id"
    row = store.state.query(with_schema, id=key)
    assert list(row.columns) == ["name", "status"]
    assert list(row["name"]) == ["checkout_workflow"]
    assert store.state.query(with_schema.replace("dbos.", ""), id=key).equals(row)
    assert list(store.state.query("SELECT count(*) AS rows FROM datasource_outputs").columns) == ["rows"]


def test_a_query_can_change_nothing(store: Store) -> None:
    for statement in ("UPDATE products SET inventory = 0", "DELETE FROM dbos.workflow_status"):
        with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
            store.state.query(statement)


def test_a_query_sees_what_was_committed_a_moment_ago(store: Store) -> None:
    for _ in range(2):
        key = store.buy(new_key())
        waiting = "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = :id"
        assert list(store.state.query(waiting, id=key)["status"]) == ["PENDING"]
        store.decline(key)


def test_a_checkout_that_was_cancelled_is_resumed_with_the_same_order(store: Store) -> None:
    orders = len(store.state.orders())
    key = store.buy(new_key())
    store.state.client.cancel_workflow(key)
    assert store.state.workflows().loc[key, "status"] == "CANCELLED"
    store.state.client.resume_workflow(key)
    store.wait_until_dispatched(store.pay(key))
    assert len(store.state.orders()) == orders + 1
