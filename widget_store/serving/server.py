"""The process that crashes: it launches DBOS, takes up the workflows left behind, and serves HTTP until told to stop.

Everything is put together here, once: the other modules are handed what they need.
"""

import contextlib
import gc
import io
import logging
import os
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
import uvicorn
from dbos import DBOS, DBOSConfig, SQLAlchemyDatasource
from psycopg.pq import TransactionStatus
from pydantic import SecretStr
from sqlalchemy import event

from widget_store import exactly_once, workflows
from widget_store.databases import Database, until_the_peer_is_lost
from widget_store.endpoints import create_app
from widget_store.errors import AppFileError
from widget_store.middleware import LOOPBACK
from widget_store.plain_text import PlainRecord, failure_in_words
from widget_store.schema import create_tables
from widget_store.serving.application import Application, load_application
from widget_store.serving.http_server import Connection, HttpServer
from widget_store.serving.ports import listen
from widget_store.serving.recovery import (
    APP_NAME,
    APPLICATION_VERSION,
    UNPINNED,
    requeue_own_workflows,
    slow_down_recovery_queue,
    take_over_from_dead_workers,
)
from widget_store.settings import Settings

if TYPE_CHECKING:
    from widget_store.crashtest.points import CrashPoints

_SHUTDOWN_WITHIN_SECONDS = 2
_CONNECTIONS = 4
_CONNECTIONS_TO_LOOK = 2  # of their own: when all transactions wait for a lock, customers can still look
_LOOK_WITHIN_SECONDS = 10
_A_DAY_IN_SECONDS = 86_400
_IN_A_TRANSACTION = {TransactionStatus.INTRANS, TransactionStatus.INERROR}
# DBOS makes no step of a sleep of 0 s. Then the steps of a dispatch would have other numbers, and an order that began
# with another interval could not go on.
_SHORTEST_SLEEP_SECONDS = 0.001
_QUEUE_THREADS = "queue-worker-"  # how DBOS begins their names
_SQLITE_CAN_NOT_NOW = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_POSTGRESQL_CAN_NOT_NOW = {"25006", "53100", "58030"}  # read-only, as a standby is; the disk full; the disk failed


@dataclass(frozen=True)
class Worker:
    """What one serving process needs to know.

    Attributes:
        app_file: A learner's file that defines `checkout_workflow`; None for the store's own.
        any_host: Answer under any host name: a proxy with a sign-in of its own stands in front.
        listener: Where connections come in, held by whoever starts this process again; None to listen by itself.
        is_one_of_several: Whether other workers take connections from there, too.
        application_version: The version of the workflows' code: it goes on only with what it began under the same one.
            "auto" is DBOS's own, a hash of their source.
        must_sell: Refuse a file that takes no part in a purchase.
    """

    executor_id: str
    database: Database
    settings: Settings
    host: str = "127.0.0.1"
    port: int = 8000
    app_file: Path | None = None
    any_host: bool = False
    listener: socket.socket | None = None
    is_one_of_several: bool = False
    application_version: str = APPLICATION_VERSION
    must_sell: bool = False


def serve(worker: Worker, on_ready: Callable[[int], None], crash_points: "CrashPoints | None" = None) -> None:
    """Serve until SIGTERM. When it returns, the process must end at once.

    Args:
        worker: What to serve, and where.
        on_ready: Called with the port once requests are answered.
        crash_points: When given, this process can be made to die at them; also by `POST /crash_application`.

    Raises:
        AppFileError: When the learner's file can't be used.
        PortTaken: When the port can't be had.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a learner's file has printed, no crash takes back
    logging.setLogRecordFactory(PlainRecord)
    gc.freeze()  # what was imported never becomes garbage: the collector need not look at it, nor write to it
    gc.set_threshold(20_000)  # a checkout makes thousands of objects, and hardly any that wait for the collector
    system, transactions = _engines(worker.database)
    if crash_points is not None:
        crash_points.watch(system)

    learners = _launch(worker, system, transactions, crash_points)
    threading.Thread(
        target=take_over_from_dead_workers,
        args=(worker.database, system, worker.executor_id, DBOS.application_version),
        daemon=True,
    ).start()
    app = create_app(
        learners.checkout_workflow,
        _engine_to_look(worker.database),
        router=learners.router,
        executor_id=worker.executor_id,
        webhook_secret=_text(worker.settings.webhook_secret),
        crash_points=crash_points,
        crash_token=_text(worker.settings.crash_token),
        hosts=None if worker.any_host else LOOPBACK | {worker.host},
    )
    config = uvicorn.Config(
        app,
        http=Connection,
        loop="asyncio:SelectorEventLoop",  # on Windows, too: it tells when a connection waits
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_WITHIN_SECONDS,
    )
    listener = worker.listener or listen(worker.host, worker.port)
    HttpServer(config, listener, is_shared=worker.is_one_of_several, on_ready=on_ready).serve_until_sigterm()
    # No `DBOS.destroy()`: a workflow that takes a step while it dismantles DBOS is recorded as failed, and never goes
    # on. The process ends in the midst of its workflows, as in a crash, and the next launch takes them up.


def _engines(database: Database) -> tuple[sa.Engine, sa.Engine]:
    """The engine of DBOS's system tables, and that of the store's own transactions.

    Without a ping before each use: DBOS repeats what fails on a lost connection, and SQLAlchemy then drops the whole
    pool. The pings are a tenth of what a checkout costs.
    """
    if database.is_sqlite:
        system, transactions = _sqlite_engine(database.system_url), _sqlite_engine(database.url)
    else:
        system, transactions = _postgresql_engine(database.system_url), _postgresql_engine(database.url)
    for engine in (system, transactions):
        event.listen(engine, "handle_error", _wait_for_the_database)
    return system, transactions


def _engine_to_look(database: Database) -> sa.Engine:
    """The engine of what customers look at. Each look is one SELECT, and needs no BEGIN and ROLLBACK around it."""
    return database.engine(
        isolation_level="AUTOCOMMIT",
        pool_size=_CONNECTIONS_TO_LOOK,
        max_overflow=0,
        pool_timeout=_LOOK_WITHIN_SECONDS,
    )


def _postgresql_engine(url: str) -> sa.Engine:
    # Few connections: more of them only fight for the interpreter, and the server has a hundred for all workers. Who
    # waits for one has not failed, however long it takes.
    engine = sa.create_engine(
        url,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_A_DAY_IN_SECONDS,
        connect_args={"connect_timeout": 10, "application_name": APP_NAME, **until_the_peer_is_lost(url)},
    )
    event.listen(engine, "rollback", _keep_prepared_statements)
    return engine


def _keep_prepared_statements(connection: sa.Connection) -> None:
    """Roll back before psycopg does: it would forget every statement that is prepared on this connection.

    PostgreSQL forgets none. psycopg does for the sake of tables that the transaction has made; the store's are made
    before. Most ROLLBACKs end a read, as when DBOS looks for a receipt. A COMMIT would keep the statements, too, but it
    would also keep what a SELECT has written by a function.
    """
    raw = None if connection.invalidated else connection.connection.driver_connection
    if isinstance(raw, psycopg.Connection) and raw.info.transaction_status in _IN_A_TRANSACTION:
        raw.pgconn.exec_(b"ROLLBACK")  # on a lost connection it raises nothing: psycopg's own does, a moment later


def _wait_for_the_database(failure: sa.engine.ExceptionContext) -> None:
    """Let DBOS repeat what the database can't do *now*, as it repeats what fails on a lost connection.

    Otherwise it takes a full disk for the workflow's own mistake, and records that the workflow has failed: it never
    goes on, and its order stays PENDING for good. So it does when a new connection is refused over a Unix socket.
    """
    error = failure.original_exception
    if isinstance(error, sqlite3.Error):
        # The low byte is the kind of error; those above it say which of its kind.
        may_pass = getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_CAN_NOT_NOW
    else:
        has_no_answer = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
        may_pass = has_no_answer or getattr(error, "sqlstate", None) in _POSTGRESQL_CAN_NOT_NOW
    if may_pass:
        failure.is_disconnect = True


def _sqlite_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, pool_timeout=_A_DAY_IN_SECONDS)  # who waits for a connection has not failed

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"  # a transaction waits for its turn to write at its start
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
        connection.execute("PRAGMA synchronous=FULL")  # and a commit is on the disk when it returns

    @sa.event.listens_for(engine, "begin")
    def count_and_take_in_one_turn(connection: sa.Connection) -> None:
        # sqlite3 begins a transaction with the first change only. DBOS's queue threads count what is running, and then
        # take what the limits leave: two workers that count in the same instant would both take.
        if threading.current_thread().name.startswith(_QUEUE_THREADS):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _launch(
    worker: Worker, system: sa.Engine, transactions: sa.Engine, crash_points: "CrashPoints | None"
) -> Application:
    """Launch DBOS with everything registered, and return what is to be served."""
    for name in [name for name in os.environ if name.startswith("DBOS_")]:
        del os.environ[name]  # of somebody's own application: a name, a version, the key of a control plane
    workflows.pace.payment_timeout = worker.settings.payment_timeout
    workflows.pace.dispatch_interval = max(worker.settings.dispatch_interval, _SHORTEST_SLEEP_SECONDS)
    version = worker.application_version
    config: DBOSConfig = {
        "name": APP_NAME,
        "system_database_url": worker.database.system_url,
        "system_database_engine": system,
        "executor_id": worker.executor_id,
        "application_version": None if version == UNPINNED else version,
        "log_level": "ERROR",
        "notification_coalesce_sec": 0.004,  # how long an event may wait to be told of; each look for one costs CPU
        "notification_listener_polling_interval_sec": 0.01,  # SQLite can't notify: DBOS looks this often
    }
    DBOS(config=config)
    with contextlib.nullcontext() if crash_points is None else crash_points.watch_step_bodies():
        application = load_application(worker.app_file, must_sell=worker.must_sell)
    exactly_once.bind(SQLAlchemyDatasource.create(worker.database.url, engine=transactions))
    with transactions.begin() as connection:
        create_tables(connection)
    if version != UNPINNED:  # DBOS makes its own at launch only, and then recovers without us, a little later
        requeue_own_workflows(system, worker.executor_id, version)
    DBOS.launch()
    try:
        with contextlib.nullcontext() if crash_points is None else crash_points.made_by("launch"):
            application.on_launch()
    except Exception as failure:
        words = f"{worker.app_file}: on_launch() failed: {failure_in_words(failure)}"
        raise AppFileError(words) from failure
    threading.Thread(target=slow_down_recovery_queue, args=(system,), daemon=True).start()
    return application


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
