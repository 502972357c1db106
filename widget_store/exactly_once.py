"""Database work that happens exactly once, however often the process dies around it.

DBOS's SQLAlchemy datasource commits a function's own SQL and a *receipt*, a row with its result, in one transaction. So
there is no moment at which the work is done and nothing tells of it: after a crash, a step is either wholly there or
wholly absent, and recovery runs it again only in the second case. The step's checkpoint in DBOS's own list follows a
moment later; where it is missing, recovery finds the receipt.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar

from dbos import SQLAlchemyDatasource
from dbos import error as dbos_error
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from dbos._datasource import DatasourceOptions

P = ParamSpec("P")
R = TypeVar("R")

_datasource: SQLAlchemyDatasource | None = None
_is_inside: ContextVar[bool] = ContextVar("whether a transaction is running", default=False)


def bind(datasource: SQLAlchemyDatasource) -> None:
    """Name the datasource in which this process's transactions run; the server does this before it launches DBOS."""
    global _datasource  # noqa: PLW0603 - DBOS is one a process, and so is its datasource
    _datasource = datasource


def transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function an exactly-once step: its SQL and its receipt commit together, or not at all.

    Inside, `sql_session()` is the session to work with.

    - In a workflow, its work is committed once. A recovered workflow gets its recorded result.
    - Outside a workflow, and in the body of a plain step, it is an ordinary transaction.
    - Called by another transaction, it is a part of it: its work commits with the other's.

    The isolation is READ COMMITTED on PostgreSQL, where a single conditional `UPDATE` sees the latest row. SQLite has
    one writer at a time.

    Args:
        function: A plain function. Its arguments and its result must be picklable.

    Returns:
        The function, to be called as before. It raises `DBOSException` when no store is launched in this process.
    """

    def marked(*args: P.args, **kwargs: P.kwargs) -> R:
        outside = _is_inside.set(True)
        try:
            return function(*args, **kwargs)
        finally:
            _is_inside.reset(outside)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if _is_inside.get():
            return function(*args, **kwargs)
        options: DatasourceOptions = {"name": function.__name__, "isolation_level": _isolation()}
        return _bound().run_tx_step(options, marked, *args, **kwargs)

    return run


def sql_session() -> Session:
    """Return the SQLAlchemy session of the `transaction` that is running. Do not commit it: `transaction` does.

    Raises:
        DBOSException: When no store is launched in this process.
        AssertionError: When no transaction is running. This one is DBOS's.
    """
    return _bound().sql_session()


def _bound() -> SQLAlchemyDatasource:
    if _datasource is None:
        raise dbos_error.DBOSException(
            "No database is bound yet: a @transaction runs inside a launched store (`widget-store serve`)."
        )
    return _datasource


def _isolation() -> Literal["READ COMMITTED", "SERIALIZABLE"]:
    return "READ COMMITTED" if _bound().engine.dialect.name == "postgresql" else "SERIALIZABLE"
