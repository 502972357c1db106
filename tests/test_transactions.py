"""The transactions alone, outside a workflow, where each is an ordinary one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from dbos import SQLAlchemyDatasource
from dbos import error as dbos_error

from tests.support import CANCELLED, DISPATCHED, PAID, PENDING, Books
from widget_store import exactly_once, sql_session, transaction, transactions
from widget_store.databases import Database
from widget_store.schema import DISPATCH_STEPS, FULL_SHELF, create_tables


@pytest.fixture(scope="module")
def bound_database(database: Database) -> Iterator[Database]:
    """A database with the store's tables, in which the transactions of this process run."""
    options = {"connect_args": {"timeout": 30}} if database.is_sqlite else {}
    engine = database.engine(**options)
    with engine.begin() as connection:
        create_tables(connection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exactly_once, "_datasource", SQLAlchemyDatasource.create(database.url, engine=engine))
        yield database
    engine.dispose()


@pytest.fixture(autouse=True)
def _full_shelf_and_no_orders(bound_database: Database) -> None:
    books = Books(bound_database)
    books.store("DELETE FROM orders RETURNING order_id")
    books.store("UPDATE products SET inventory = :full, stock_added = :full RETURNING inventory", full=FULL_SHELF)


def status(books: Books, order_id: int) -> int:
    ((found,),) = books.store("SELECT order_status FROM orders WHERE order_id = :id", id=order_id)
    return int(found)


def shelf(books: Books) -> tuple[int, int]:
    """What is on the shelf, and what was ever put there."""
    ((inventory, stock_added),) = books.store("SELECT inventory, stock_added FROM products")
    return inventory, stock_added


def test_a_new_order_is_pending_with_the_whole_dispatch_before_it(books: Books) -> None:
    order_id = transactions.create_order()
    found = books.store("SELECT order_id, order_status, progress_remaining FROM orders")
    assert found == [(order_id, PENDING, DISPATCH_STEPS)]


def test_an_order_id_is_never_given_twice(books: Books) -> None:
    first = transactions.create_order()
    books.store("DELETE FROM orders RETURNING order_id")
    assert transactions.create_order() > first


def test_a_reservation_takes_one_widget_and_its_undoing_returns_it(books: Books) -> None:
    assert transactions.reserve_inventory()
    assert shelf(books) == (FULL_SHELF - 1, FULL_SHELF)
    transactions.undo_reserve_inventory()
    assert shelf(books) == (FULL_SHELF, FULL_SHELF)


def test_nothing_is_reserved_from_an_empty_shelf(books: Books) -> None:
    books.set_inventory(0)
    assert transactions.reserve_inventory() is False
    assert shelf(books)[0] == 0


def test_of_many_at_once_as_many_get_a_widget_as_there_are(books: Books) -> None:
    books.set_inventory(3)
    with ThreadPoolExecutor(8) as threads:
        got_one = list(threads.map(lambda _: transactions.reserve_inventory(), range(8)))
    assert sorted(got_one) == [False] * 5 + [True] * 3
    assert shelf(books)[0] == 0


def test_the_database_itself_refuses_less_than_no_widgets(books: Books) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        books.store("UPDATE products SET inventory = -1 RETURNING inventory")


def test_an_order_settled_one_way_is_never_settled_the_other(books: Books) -> None:
    paid, cancelled = transactions.create_order(), transactions.create_order()
    transactions.mark_order_paid(paid)
    transactions.cancel_order(paid)
    transactions.cancel_order(cancelled)
    transactions.mark_order_paid(cancelled)
    assert (status(books, paid), status(books, cancelled)) == (PAID, CANCELLED)


def test_a_paid_order_is_dispatched_second_by_second(books: Books) -> None:
    order_id = transactions.create_order()
    transactions.mark_order_paid(order_id)
    left = [transactions.update_order_progress(order_id) for _ in range(DISPATCH_STEPS - 1)]
    assert (left, status(books, order_id)) == (list(range(DISPATCH_STEPS - 1, 0, -1)), PAID)
    assert (transactions.update_order_progress(order_id), status(books, order_id)) == (0, DISPATCHED)


def test_an_order_that_is_not_paid_is_not_dispatched(books: Books) -> None:
    pending, cancelled = transactions.create_order(), transactions.create_order()
    transactions.cancel_order(cancelled)
    assert transactions.update_order_progress(pending) == 0
    assert transactions.update_order_progress(cancelled) == 0
    assert (status(books, pending), status(books, cancelled)) == (PENDING, CANCELLED)


def test_a_restock_fills_the_shelf_less_what_pending_orders_may_give_back(books: Books) -> None:
    books.set_inventory(10)
    transactions.create_order()
    transactions.reserve_inventory()
    added = transactions.restock()
    assert shelf(books)[0] == FULL_SHELF - 1
    assert added == FULL_SHELF - 10
    assert transactions.restock() == 0


def test_a_transaction_that_raises_changes_nothing(books: Books) -> None:
    @transaction
    def take_one_and_fail() -> None:
        sql_session().execute(sa.text("UPDATE products SET inventory = inventory - 1"))
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        take_one_and_fail()
    assert shelf(books) == (FULL_SHELF, FULL_SHELF)


def test_a_transaction_keeps_the_name_and_the_words_of_its_function() -> None:
    assert transactions.restock.__name__ == "restock"
    assert "Fill the shelf" in str(transactions.restock.__doc__)


def test_a_transaction_outside_a_store_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactly_once, "_datasource", None)
    with pytest.raises(dbos_error.DBOSException, match="widget-store serve"):
        transactions.restock()


def test_the_tables_can_be_created_again_without_harm(bound_database: Database, books: Books) -> None:
    transactions.create_order()
    books.set_inventory(5)
    engine = bound_database.engine(poolclass=sa.NullPool)
    with engine.begin() as connection:
        create_tables(connection)
    assert shelf(books)[0] == 5
    assert len(books.store("SELECT order_id FROM orders")) == 1


def test_a_transaction_in_another_is_a_part_of_it(books: Books) -> None:
    @transaction
    def order_and_take(fails: bool) -> int:
        order_id = transactions.create_order()
        assert transactions.reserve_inventory()
        if fails:
            raise KeyError("after both")
        return order_id

    with pytest.raises(KeyError, match="after both"):
        order_and_take(fails=True)
    assert books.store("SELECT order_id FROM orders") == []
    assert shelf(books) == (FULL_SHELF, FULL_SHELF)
    assert status(books, order_and_take(fails=False)) == PENDING
    assert shelf(books) == (FULL_SHELF - 1, FULL_SHELF)
