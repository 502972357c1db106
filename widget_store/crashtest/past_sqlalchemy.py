"""Commits that an application makes with its driver, past SQLAlchemy: with psycopg or with sqlite3.

SQLAlchemy tells of its own. What these drivers have for everybody to call is replaced by what also tells.
"""

import contextlib
import re
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
_UNDOES = re.compile(r"\s*(ROLLBACK|ABORT)\b(?!.*\bTO\b)", re.IGNORECASE | re.DOTALL)


def watch_drivers(around: Around) -> None:
    """Let each commit of a connection that is not SQLAlchemy's happen in a context manager."""
    event.listen(sa.pool.Pool, "connect", _leave_to_sqlalchemy)
    _watch_psycopg_cursors(around)
    _watch_psycopg_connections(around)
    _watch_async_cursors(around)
    _watch_async_connections(around)
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
    elif _UNDOES.match(text):
        _forget(connection)
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


def _forget(connection: Any) -> None:
    """What was not committed never will be."""
    _uncommitted.pop(connection, None)


@contextlib.contextmanager
def _forgotten_if_it_fails(connection: Any, is_outermost: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if is_outermost:
            _forget(connection)
        raise


def _is_idle(connection: Any) -> bool:
    return bool(connection.info.transaction_status == TransactionStatus.IDLE)


def _watch_psycopg_cursors(around: Around) -> None:
    def told(run: Callable[..., Any]) -> Callable[..., Any]:
        def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            alone = self.connection.autocommit and _is_idle(self.connection)
            with _statement(around, self.connection, query, alone):
                return run(self, query, *args, **kwargs)

        return execute

    plain_copy = psycopg.Cursor.copy

    @contextlib.contextmanager
    def copy(self: Any, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        alone = self.connection.autocommit and _is_idle(self.connection)
        with _statement(around, self.connection, query, alone), plain_copy(self, query, *args, **kwargs) as rows:
            yield rows

    patched: Any = psycopg.Cursor
    patched.copy = copy
    for name in ("execute", "executemany"):
        setattr(patched, name, told(getattr(patched, name)))


def _watch_psycopg_connections(around: Around) -> None:
    plain_commit, plain_transaction = psycopg.Connection.commit, psycopg.Connection.transaction
    plain_rollback = psycopg.Connection.rollback

    def commit(self: Any) -> None:
        with _commit(around, self):
            plain_commit(self)

    def rollback(self: Any) -> None:
        _forget(self)
        plain_rollback(self)

    @contextlib.contextmanager
    def transaction(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        is_outermost = _is_idle(self)
        with contextlib.ExitStack() as stack:  # left in the other order: the commit is inside of what is around it
            inner = stack.enter_context(plain_transaction(self, *args, **kwargs))
            with _forgotten_if_it_fails(self, is_outermost):
                yield inner
            if is_outermost:
                with _commit(around, self):
                    stack.close()

    patched: Any = psycopg.Connection
    patched.commit, patched.rollback, patched.transaction = commit, rollback, transaction


def _watch_async_cursors(around: Around) -> None:
    def told(run: Callable[..., Any]) -> Callable[..., Any]:
        async def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            alone = self.connection.autocommit and _is_idle(self.connection)
            with _statement(around, self.connection, query, alone):
                return await run(self, query, *args, **kwargs)

        return execute

    plain_copy = psycopg.AsyncCursor.copy

    @contextlib.asynccontextmanager
    async def copy(self: Any, query: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        alone = self.connection.autocommit and _is_idle(self.connection)
        with _statement(around, self.connection, query, alone):
            async with plain_copy(self, query, *args, **kwargs) as rows:
                yield rows

    patched: Any = psycopg.AsyncCursor
    patched.copy = copy
    for name in ("execute", "executemany"):
        setattr(patched, name, told(getattr(patched, name)))


def _watch_async_connections(around: Around) -> None:
    plain_commit, plain_transaction = psycopg.AsyncConnection.commit, psycopg.AsyncConnection.transaction
    plain_rollback = psycopg.AsyncConnection.rollback

    async def commit(self: Any) -> None:
        with _commit(around, self):
            await plain_commit(self)

    async def rollback(self: Any) -> None:
        _forget(self)
        await plain_rollback(self)

    @contextlib.asynccontextmanager
    async def transaction(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        is_outermost = _is_idle(self)
        async with contextlib.AsyncExitStack() as stack:
            inner = await stack.enter_async_context(plain_transaction(self, *args, **kwargs))
            with _forgotten_if_it_fails(self, is_outermost):
                yield inner
            if is_outermost:
                with _commit(around, self):
                    await stack.aclose()

    patched: Any = psycopg.AsyncConnection
    patched.commit, patched.rollback, patched.transaction = commit, rollback, transaction


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

        def executescript(self, script: str) -> Any:
            with around([*_uncommitted.pop(self.connection, []), *script.split(";")]):  # it commits what was before
                return super().executescript(script)

    return Cursor


def _by_a_cursor(name: str) -> Callable[..., Any]:
    def run(self: sqlite3.Connection, *args: Any) -> Any:
        return getattr(self.cursor(), name)(*args)

    return run


def _sqlite_connection(around: Around, cursors: type[sqlite3.Cursor]) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = cursors) -> Any:
            return super().cursor(factory)

        execute, executemany, executescript = map(_by_a_cursor, ("execute", "executemany", "executescript"))

        def commit(self) -> None:
            with _commit(around, self):
                super().commit()

        def rollback(self) -> None:
            _forget(self)
            super().rollback()

        def __exit__(self, kind: Any, *rest: Any) -> Any:
            if kind is None:
                self.commit()
            _forget(self)
            return super().__exit__(kind, *rest)

    return Connection


def _is_alone(connection: sqlite3.Connection) -> bool:
    """Whether a statement is a transaction of its own here."""
    return connection.isolation_level is None and not connection.in_transaction
