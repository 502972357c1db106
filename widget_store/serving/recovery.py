"""Recovery: the workflows that a dead worker left behind go on, in the worker that takes its place or in any other.

They are put onto a queue, and a worker that takes them from there runs them from their last checkpoint. At launch, a
worker takes up what its own executor id left behind. Later it looks for ids that nobody holds any more: there may be
fewer workers now than there were.
"""

import contextlib
import time

import psycopg
import sqlalchemy as sa
from dbos import DBOSClient, WorkflowStatus

from widget_store.databases import Database
from widget_store.dbos_internals import requeue_for_recovery
from widget_store.serving import executors

APP_NAME = "widget-store"
# DBOS recovers a workflow only in the version of the code that started it. Unpinned, the version is a hash of the
# source, and an edited comment would strand every order that is under way.
APPLICATION_VERSION = "3"
UNPINNED = "auto"  # in the place of a version: DBOS's own, that hash
RECOVERY_QUEUE = "recovery"
_AT_ONCE_SECONDS, _AT_REST_SECONDS = 0.02, 1.0
# Longer than a supervisor takes to notice that it lost its ids with the database, and to kill its workers.
_LOOK_EVERY_SECONDS = 1.5


def requeue_own_workflows(system: sa.Engine, executor_id: str, version: str) -> None:
    """Put the workflows that this executor left behind onto a queue that is looked at at once.

    DBOS would recover them by itself, through a queue that it looks at once a second: most of the time a customer waits
    after a crash.
    """
    if not sa.inspect(system).has_table("workflow_status", schema=None if system.name == "sqlite" else "dbos"):
        return  # the first launch on this database
    # Where another worker is making the tables in this instant, or an older DBOS made them, columns are missing. DBOS
    # makes those at launch, and then recovers by itself.
    with contextlib.suppress(sa.exc.ProgrammingError, sa.exc.OperationalError):
        _requeue(_client(system), executor_id, version, look_every=_AT_ONCE_SECONDS)


def slow_down_recovery_queue(system: sa.Engine) -> None:
    """Once everything is taken up, stop looking at the queue fifty times a second."""
    with contextlib.suppress(psycopg.Error, sa.exc.SQLAlchemyError):  # the database is away: workers start afresh then
        client = _client(system)
        while client.list_workflows(queue_name=RECOVERY_QUEUE, status="ENQUEUED", limit=1, load_input=False):
            time.sleep(0.1)
        queue = client.retrieve_queue(RECOVERY_QUEUE)
        if queue is not None:
            queue.set_polling_interval_sec(_AT_REST_SECONDS)


def take_over_from_dead_workers(database: Database, system: sa.Engine, executor_id: str, version: str) -> None:
    """For as long as this worker lives, requeue what others of its version left behind whose executor ids are free."""
    client = None
    free_before: set[str] = set()
    while True:
        try:
            client = client or DBOSClient(
                system_database_engine=system, application_name=APP_NAME, retry_connection_errors=False
            )
            free_before = _take_over(database, client, executor_id, version, free_before)
        except (psycopg.Error, sa.exc.SQLAlchemyError):
            free_before = set()  # the database is away; the supervisor knows what to do
        time.sleep(_LOOK_EVERY_SECONDS)


def _take_over(database: Database, client: DBOSClient, own_id: str, version: str, free_before: set[str]) -> set[str]:
    """Requeue the workflows of ids that are free, and were at the last look; return those that are free.

    An id that is free for the first time may have got lost with the database a moment ago, and its worker still live.
    While its workflows are requeued the id is held here: nobody starts a worker under it.
    """
    others = {workflow.executor_id or "" for workflow in _under_way(client, version)} - {own_id}
    if not others:
        return set()
    held = executors.claim_those(database, others)
    try:
        for executor_id in free_before.intersection(held.ids):
            _requeue(client, executor_id, version, look_every=_AT_REST_SECONDS)
    finally:
        held.release()
    return set(held.ids)


def _requeue(client: DBOSClient, executor_id: str, version: str, look_every: float) -> None:
    """Put what an executor left behind onto the queue that it came from, where that queue's limits hold, or onto ours.

    As DBOS's own recovery does it. `resume_workflows` would forget two things: how often a workflow was tried, and then
    one that kills its process each time would do so for good; and the deadline that it has.
    """
    under_way = _under_way(client, version, executor_id)
    if under_way:
        client.register_queue(RECOVERY_QUEUE, polling_interval_sec=look_every, on_conflict="always_update")
    for workflow in under_way:
        requeue_for_recovery(client, workflow.workflow_id, executor_id, RECOVERY_QUEUE)


def _under_way(client: DBOSClient, version: str, executor_id: str | None = None) -> list[WorkflowStatus]:
    """The workflows of a version that are under way, in an executor or in any."""
    return client.list_workflows(
        status="PENDING",
        executor_id=executor_id,
        app_version=version,
        load_input=False,
        load_output=False,
    )


def _client(system: sa.Engine) -> DBOSClient:
    return DBOSClient(system_database_engine=system, application_name=APP_NAME)
