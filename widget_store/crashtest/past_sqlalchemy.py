"""Commits that an application makes with its driver, past SQLAlchemy: with psycopg or with sqlite3.

SQLAlchemy tells of its own. What these drivers have for everybody to call is replaced by what also tells.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy import event

Around = Callable[[list[str]], contextlib.AbstractContextManager[None]]
"""Makes, from the statements of a transaction, a context manager in which it commits."""

_sqlalchemys: "WeakSet[Any]" = WeakSet()
_uncommitted: "WeakKeyDictionary[Any, list[str]]" = WeakKeyDictionary()
_ENDS = ("COMMIT", "END")


def watch_drivers(around: Around) -> None:
    """Let each commit of a connection that is not SQLAlchemy's happen in a context manager."""
    event.listen(sa.pool.Pool, "connect", _leave_to_sqlalchemy)
    _watch_psycopg(around)
    _watch_psycopg_async(around)
    _watch_sqlite(around)


def _leave_to_sqlalchemy(connection: Any, _record: Any) -> None:
    driver = getattr(connection, "driver_connection", connection)
    for each in (driver, getattr(driver, "_conn", None)):  # aiosqlite has one of sqlite3 inside
        if each is not None and type(each) is not sqlite3.Connection:  # those can't be referred to, and are not watched
            _sqlalchemys.add(each)


@contextlib.contextmanager
def _statement(around: Around, connection: Any, query: object, commits_by_itself: bool) -> Iterator[None]:
    """Run a statement in this block: a commit of its own, the end of a transaction, or a part of one."""
    text = query if isinstance(query, str) else str(getattr(query, "as_string", lambda _connection: query)(None))
    if connection in _sqlalchemys:
        yield
    elif text.lstrip().upper().startswith(_ENDS):
        with around(_uncommitted.pop(connection, [])):
            yield
    elif commits_by_itself:
        with around([text]):
            yield
    else:
        yield
        _uncommitted.setdefault(connection, []).append(text)


def _commit(around: Around, connection: Any) -> contextlib.AbstractContextManager[None]:
    if connection in _sqlalchemys:
        return contextlib.nullcontext()
    return around(_uncommitted.pop(connection, []))


def _is_idle(connection: Any) -> bool:
    return bool(connection.info.transaction_status == TransactionStatus.IDLE)


def _watch_psycopg(around: Around) -> None:
    def told(run: Callable[..., Any]) -> Callable[..., Any]:
        def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            alone = self.connection.autocommit and _is_idle(self.connection)
            with _statement(around, self.connection, query, alone):
                return run(self, query, *args, **kwargs)

        return execute

    plain_commit, plain_transaction = psycopg.Connection.commit, psycopg.Connection.transaction

    def commit(self: Any) -> None:
        with _commit(around, self):
            plain_commit(self)

    @contextlib.contextmanager
    def transaction(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        is_outermost = _is_idle(self)
        with contextlib.ExitStack() as stack:  # left in the other order: the commit is inside of what is around it
            inner = stack.enter_context(plain_transaction(self, *args, **kwargs))
            yield inner
            if is_outermost:
                with _commit(around, self):
                    stack.close()

    patched: Any = psycopg.Connection
    patched.commit, patched.transaction = commit, transaction
    for name in ("execute", "executemany"):
        setattr(psycopg.Cursor, name, told(getattr(psycopg.Cursor, name)))


def _watch_psycopg_async(around: Around) -> None:
    def told(run: Callable[..., Any]) -> Callable[..., Any]:
        async def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            alone = self.connection.autocommit and _is_idle(self.connection)
            with _statement(around, self.connection, query, alone):
                return await run(self, query, *args, **kwargs)

        return execute

    plain_commit, plain_transaction = psycopg.AsyncConnection.commit, psycopg.AsyncConnection.transaction

    async def commit(self: Any) -> None:
        with _commit(around, self):
            await plain_commit(self)

    @contextlib.asynccontextmanager
    async def transaction(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        is_outermost = _is_idle(self)
        async with contextlib.AsyncExitStack() as stack:
            inner = await stack.enter_async_context(plain_transaction(self, *args, **kwargs))
            yield inner
            if is_outermost:
                with _commit(around, self):
                    await stack.aclose()

    patched: Any = psycopg.AsyncConnection
    patched.commit, patched.transaction = commit, transaction
    for name in ("execute", "executemany"):
        setattr(psycopg.AsyncCursor, name, told(getattr(psycopg.AsyncCursor, name)))


def _watch_sqlite(around: Around) -> None:
    connect, connection = sqlite3.connect, _sqlite_connection(around, _sqlite_cursor(around))

    def watched(*args: Any, **kwargs: Any) -> Any:
        return connect(*args, **({"factory": connection} | kwargs))

    sqlite3.connect = watched


def _sqlite_cursor(around: Around) -> type[sqlite3.Cursor]:
    class Cursor(sqlite3.Cursor):
        def execute(self, query: str, *args: Any) -> Any:
            with _statement(around, self.connection, query, _is_alone(self.connection)):
                return super().execute(query, *args)

        def executemany(self, query: str, *args: Any) -> Any:
            with _statement(around, self.connection, query, _is_alone(self.connection)):
                return super().executemany(query, *args)

    return Cursor


def _sqlite_connection(around: Around, cursors: type[sqlite3.Cursor]) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = cursors) -> Any:
            return super().cursor(factory)

        def execute(self, query: str, *args: Any) -> Any:
            return self.cursor().execute(query, *args)

        def executemany(self, query: str, *args: Any) -> Any:
            return self.cursor().executemany(query, *args)

        def commit(self) -> None:
            with _commit(around, self):
                super().commit()

        def __exit__(self, kind: Any, *rest: Any) -> Any:
            if kind is None:
                self.commit()
            return super().__exit__(kind, *rest)

    return Connection


def _is_alone(connection: sqlite3.Connection) -> bool:
    """Whether a statement is a transaction of its own here."""
    return connection.isolation_level is None and not connection.in_transaction
