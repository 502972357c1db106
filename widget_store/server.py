"""The process that crashes: it launches DBOS, takes up the workflows left behind, and serves HTTP until told to stop.

Everything is put together here, once: the other modules are handed what they need.
"""

import contextlib
import io
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uvicorn
from dbos import DBOS, DBOSClient, DBOSConfig, SQLAlchemyDatasource

from widget_store import exactly_once, workflows
from widget_store.application import Application, load_application
from widget_store.crashes import CrashPoints
from widget_store.database import Database
from widget_store.endpoints import LOOPBACK, create_app
from widget_store.schema import create_tables
from widget_store.settings import Settings

APP_NAME = "widget-store"
# DBOS recovers a workflow only in the version of the code that started it. Unpinned, the version is a hash of the
# source, and an edited comment would strand every order that is under way.
APPLICATION_VERSION = "1"
RECOVERY_QUEUE = "recovery"
_AT_ONCE_SECONDS, _AT_REST_SECONDS = 0.02, 1.0
_SHUTDOWN_WITHIN_SECONDS = 2


@dataclass(frozen=True)
class Worker:
    """What one serving process needs to know.

    Attributes:
        app_file: A learner's file that defines `checkout_workflow`; None for the store's own.
        any_host: Answer under any host name: a proxy with a sign-in of its own stands in front.
        shares_port: Other workers listen on the same port.
    """

    executor_id: str
    database: Database
    settings: Settings
    host: str = "127.0.0.1"
    port: int = 8000
    app_file: Path | None = None
    any_host: bool = False
    shares_port: bool = False


def serve(worker: Worker, on_ready: Callable[[int], None], crash_points: CrashPoints | None = None) -> None:
    """Serve until SIGTERM.

    Args:
        worker: What to serve, and where.
        on_ready: Called with the port once requests are answered.
        crash_points: When given, this process can be made to die at them; also by `POST /crash_application`.

    Raises:
        AppFileError: When the learner's file can't be used.
        OSError: When the port can't be had.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a learner's file has printed, no crash takes back
    system, transactions = _engines(worker.database)
    if crash_points is not None:
        crash_points.watch(system)

    learners = _launch(worker, system, transactions, crash_points)
    app = create_app(
        learners.checkout_workflow,
        transactions,
        router=learners.router,
        executor_id=worker.executor_id,
        webhook_secret=_secret(worker.settings),
        crash_points=crash_points,
        hosts=None if worker.any_host else LOOPBACK | {worker.host},
    )
    config = uvicorn.Config(
        app,
        host=worker.host,
        port=worker.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_WITHIN_SECONDS,
    )
    server = _Server(config, on_ready)
    try:
        server.run(sockets=[_listen(config, worker.shares_port)])
    finally:
        # Workflows that are under way are left to the next launch, as after a crash: nothing is lost by not waiting.
        DBOS.destroy(workflow_completion_timeout_sec=0)


class _Server(uvicorn.Server):
    """A uvicorn server that says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])


def _listen(config: uvicorn.Config, shares_port: bool) -> Any:
    import socket

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shares_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((config.host, config.port))
    return listener


def _engines(database: Database) -> tuple[sa.Engine, sa.Engine]:
    """The engine of DBOS's system tables, and that of the store's own transactions.

    Without a ping before each use: DBOS repeats what fails on a lost connection, and SQLAlchemy then drops the whole
    pool. The pings are a tenth of what a checkout costs.
    """
    if database.is_sqlite:
        return _sqlite_engine(database.system_url), _sqlite_engine(database.url)
    arguments = {"connect_timeout": 10, "application_name": APP_NAME}
    system = sa.create_engine(database.system_url, pool_size=20, max_overflow=0, connect_args=arguments)
    transactions = sa.create_engine(database.url, pool_size=20, max_overflow=0, connect_args=arguments)
    return system, transactions


def _sqlite_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"  # a transaction waits for its turn to write at its start
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
        connection.execute("PRAGMA synchronous=FULL")  # and a commit is on the disk when it returns

    return engine


def _launch(
    worker: Worker, system: sa.Engine, transactions: sa.Engine, crash_points: CrashPoints | None
) -> Application:
    """Launch DBOS with everything registered, and return what is to be served."""
    workflows.pace.payment_timeout = worker.settings.payment_timeout
    workflows.pace.dispatch_interval = worker.settings.dispatch_interval
    config: DBOSConfig = {
        "name": APP_NAME,
        "system_database_url": worker.database.system_url,
        "system_database_engine": system,
        "executor_id": worker.executor_id,
        "application_version": APPLICATION_VERSION,
        "log_level": "ERROR",
        "notification_coalesce_sec": 0.001,  # how long an event may wait for others, to be told of in one message
        "notification_listener_polling_interval_sec": 0.01,  # SQLite can't notify: DBOS looks this often
    }
    DBOS(config=config)
    with contextlib.nullcontext() if crash_points is None else crash_points.watch_step_bodies():
        application = load_application(worker.app_file)
    exactly_once.bind(SQLAlchemyDatasource.create(worker.database.url, engine=transactions))
    with transactions.begin() as connection:
        create_tables(connection)
    _requeue_own_workflows(system, worker.executor_id)
    DBOS.launch()
    threading.Thread(target=_slow_down_recovery_queue, daemon=True).start()
    return application


def _requeue_own_workflows(system: sa.Engine, executor_id: str) -> None:
    """Put the workflows that this executor left behind onto a queue that is looked at at once.

    DBOS would recover them by itself, through a queue that it looks at once a second: most of the time a customer waits
    after a crash. Workflows that came from a queue of their own are left to DBOS, which returns them there.
    """
    if not sa.inspect(system).has_table("workflow_status", schema=None if system.name == "sqlite" else "dbos"):
        return  # the first launch on this database
    client = DBOSClient(system_database_engine=system, application_name=APP_NAME)
    left_behind = [
        workflow.workflow_id
        for workflow in client.list_workflows(
            status="PENDING",
            executor_id=executor_id,
            app_version=APPLICATION_VERSION,
            load_input=False,
            load_output=False,
        )
        if workflow.queue_name in {None, RECOVERY_QUEUE}
    ]
    if left_behind:
        client.register_queue(RECOVERY_QUEUE, polling_interval_sec=_AT_ONCE_SECONDS, on_conflict="always_update")
        client.resume_workflows(left_behind, queue_name=RECOVERY_QUEUE)


def _slow_down_recovery_queue() -> None:
    """Once everything is taken up, stop looking at the queue fifty times a second."""
    while DBOS.list_workflows(queue_name=RECOVERY_QUEUE, status="ENQUEUED", limit=1, load_input=False):
        time.sleep(0.1)
    queue = DBOS.retrieve_queue(RECOVERY_QUEUE)
    if queue is not None:
        queue.set_polling_interval_sec(_AT_REST_SECONDS)


def _secret(settings: Settings) -> str | None:
    return None if settings.webhook_secret is None else settings.webhook_secret.get_secret_value()
