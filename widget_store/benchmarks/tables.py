"""The database behind the store: the same SQL with nothing durable around it, and orders that ended long ago."""

import time
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from dbos import DBOSClient, WorkflowStatus

from widget_store.databases import Database
from widget_store.schema import PRODUCT_ID, OrderStatus, orders, products
from widget_store.serving.recovery import APP_NAME, RECOVERY_QUEUE

_BIG_SHELF = 10_000_000
"""Widgets enough for the whole run."""
_IDS = {"workflow_uuid", "parent_workflow_id", "child_workflow_id", "destination_uuid", "message_uuid"}
"""The columns of DBOS's tables in which a workflow's id stands, alone or as a part."""
_OWNERS = ("workflow_uuid", "destination_uuid")
"""Where a row of theirs has the id of the workflow to which it belongs."""


class Tables:
    """The tables of one database.

    Args:
        database: One with the store's tables in it.
    """

    def __init__(self, database: Database) -> None:
        self._engine = database.engine(pool_size=32, pool_pre_ping=False)
        self._system = database.system_engine()
        self._schema = None if database.is_sqlite else "dbos"
        self._client = DBOSClient(system_database_engine=self._system, application_name=APP_NAME)

    def close(self) -> None:
        """Let go of the database."""
        self._client.destroy()
        self._engine.dispose()
        self._system.dispose()

    def fill_shelf(self) -> None:
        """Put so many widgets on the shelf that none of the customers gets none."""
        with self._engine.begin() as connection:
            connection.execute(products.update().values(inventory=_BIG_SHELF, stock_added=_BIG_SHELF))

    def dispatched(self) -> int:
        """How many orders are DISPATCHED."""
        query = sa.select(sa.func.count()).where(orders.c.order_status == OrderStatus.DISPATCHED)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def recovered(self) -> int:
        """How many workflows a new process has taken up from those that an old one left behind, and that go on."""
        return len(
            self._client.list_workflows(
                queue_name=RECOVERY_QUEUE, status="PENDING", load_input=False, load_output=False
            )
        )

    def at_rest(self) -> bool:
        """Whether no workflow is running, or waits to run."""
        return not self._under_way(limit=1)

    def cancel_what_sleeps(self) -> None:
        """Cancel what is under way: a durable sleep would go on for as long in the next process, too."""
        self._client.cancel_workflows([workflow.workflow_id for workflow in self._under_way()])

    def _under_way(self, limit: int | None = None) -> list[WorkflowStatus]:
        return self._client.list_workflows(
            status=["PENDING", "ENQUEUED", "DELAYED"], limit=limit, load_input=False, load_output=False
        )

    # --- the same SQL with nothing durable

    def plain_checkouts(self, warm_up: int, how_many: int) -> tuple[list[float], list[float]]:
        """The seconds of each purchase (one insert, one update) and of each payment (one update)."""
        times = [self._buy_and_pay() for _ in range(warm_up + how_many)][warm_up:]
        return [buy for buy, _ in times], [pay for _, pay in times]

    def plain_rush(self, customers: int, how_many: int) -> tuple[float, list[float], list[float]]:
        """The same by many customers at once: checkouts a second, and the seconds of each purchase and payment."""
        started = time.perf_counter()
        with ThreadPoolExecutor(customers) as crowd:
            times = list(crowd.map(lambda _: self._buy_and_pay(), range(how_many)))
        seconds = time.perf_counter() - started
        return how_many / seconds, [buy for buy, _ in times], [pay for _, pay in times]

    def bare_commits(self, how_many: int) -> list[float]:
        """The seconds of each of so many transactions that change one row."""
        times = []
        for _ in range(how_many):
            started = time.perf_counter()
            with self._engine.begin() as connection:
                connection.execute(products.update().values(inventory=products.c.inventory))
            times.append(time.perf_counter() - started)
        return times

    def _buy_and_pay(self) -> tuple[float, float]:
        started = time.perf_counter()
        new_order = orders.insert().values(product_id=PRODUCT_ID, order_status=OrderStatus.PENDING)
        with self._engine.begin() as connection:
            order_id = connection.execute(new_order.returning(orders.c.order_id)).scalar_one()
        with self._engine.begin() as connection:
            connection.execute(products.update().values(inventory=products.c.inventory - 1))
        bought = time.perf_counter()
        paid = orders.update().where(orders.c.order_id == order_id).values(order_status=OrderStatus.PAID)
        with self._engine.begin() as connection:
            connection.execute(paid)
        return bought - started, time.perf_counter() - bought

    # --- orders that ended long ago

    def copy_finished_order(self, key: str, copies: range) -> None:
        """Copy an order that is DISPATCHED, with every row that its two workflows have left in DBOS's tables.

        Args:
            key: The customer's key; the checkout and the dispatch have ended.
            copies: Their numbers.
        """
        numbers = sa.select(sa.literal(copies.start).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n + 1 < copies.stop))
        done = {"product_id": PRODUCT_ID, "order_status": int(OrderStatus.DISPATCHED), "progress_remaining": 0}
        copied = sa.select(*map(sa.literal, done.values())).select_from(numbers)
        with self._engine.begin() as connection:
            connection.execute(orders.insert().from_select(list(done), copied))
        rows = sa.MetaData(schema=self._schema)
        rows.reflect(self._system)
        with self._system.begin() as connection:
            for each in rows.tables.values():
                owner = next((each.c[name] for name in _OWNERS if name in each.c), None)
                if owner is not None:
                    written = [column for column in each.c if not (column.identity or column.computed)]
                    values = [_with_number(column, key, numbers.c.n) for column in written]
                    theirs = sa.select(*values).where(owner.in_([key, f"{key}.dispatch"]))
                    connection.execute(
                        each.insert().from_select(
                            [column.name for column in written], theirs.join_from(each, numbers, sa.true())
                        )
                    )
        for engine in (self._engine, self._system):  # as the database itself does after a while
            with engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("ANALYZE"))


def _with_number(column: sa.Column[object], key: str, number: sa.ColumnElement[int]) -> sa.ColumnElement[object]:
    """A column as it is; of an id, the key in it followed by the copy's number."""
    if column.name not in _IDS:
        return column
    numbered = sa.literal(f"{key}-").concat(sa.cast(number, sa.Text))
    return sa.func.replace(column, sa.literal(key, sa.Text), numbered).label(column.name)
