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

from widget_store import executors
from widget_store.database import Database

APP_NAME = "widget-store"
# DBOS recovers a workflow only in the version of the code that started it. Unpinned, the version is a hash of the
# source, and an edited comment would strand every order that is under way.
APPLICATION_VERSION = "1"
RECOVERY_QUEUE = "recovery"
# A workflow that came from a queue of its own is left to DBOS, which returns it there. These are no such queues: most
# workflows came from none, and the last is where DBOS itself puts what it resumes.
_NO_QUEUE_OF_THEIR_OWN = {None, RECOVERY_QUEUE, "_dbos_internal_queue"}
_AT_ONCE_SECONDS, _AT_REST_SECONDS = 0.02, 1.0
# Longer than a supervisor takes to notice that it lost its ids with the database, and to kill its workers.
_LOOK_EVERY_SECONDS = 1.5


def requeue_own_workflows(system: sa.Engine, executor_id: str) -> None:
    """Put the workflows that this executor left behind onto a queue that is looked at at once.

    DBOS would recover them by itself, through a queue that it looks at once a second: most of the time a customer waits
    after a crash.
    """
    if not sa.inspect(system).has_table("workflow_status", schema=None if system.name == "sqlite" else "dbos"):
        return  # the first launch on this database
    _requeue(_client(system), executor_id, look_every=_AT_ONCE_SECONDS)


def slow_down_recovery_queue(system: sa.Engine) -> None:
    """Once everything is taken up, stop looking at the queue fifty times a second."""
    client = _client(system)
    with contextlib.suppress(psycopg.Error, sa.exc.SQLAlchemyError):  # the database is away: workers start afresh then
        while client.list_workflows(queue_name=RECOVERY_QUEUE, status="ENQUEUED", limit=1, load_input=False):
            time.sleep(0.1)
        queue = client.retrieve_queue(RECOVERY_QUEUE)
        if queue is not None:
            queue.set_polling_interval_sec(_AT_REST_SECONDS)


def take_over_from_dead_workers(database: Database, system: sa.Engine, executor_id: str) -> None:
    """For as long as this worker lives, requeue what others left behind whose executor ids are free."""
    client = DBOSClient(system_database_engine=system, application_name=APP_NAME, retry_connection_errors=False)
    free_before: set[str] = set()
    while True:
        try:
            free_before = _take_over(database, client, executor_id, free_before)
        except (psycopg.Error, sa.exc.SQLAlchemyError):
            free_before = set()  # the database is away; the supervisor knows what to do
        time.sleep(_LOOK_EVERY_SECONDS)


def _take_over(database: Database, client: DBOSClient, own_id: str, free_before: set[str]) -> set[str]:
    """Requeue the workflows of ids that are free, and were at the last look; return those that are free.

    An id that is free for the first time may have got lost with the database a moment ago, and its worker still live.
    While its workflows are requeued the id is held here: nobody starts a worker under it.
    """
    others = {workflow.executor_id or "" for workflow in _left_behind(client)} - {own_id}
    if not others:
        return set()
    held = executors.claim_those(database, others)
    try:
        for executor_id in free_before.intersection(held.ids):
            _requeue(client, executor_id, look_every=_AT_REST_SECONDS)
    finally:
        held.release()
    return set(held.ids)


def _requeue(client: DBOSClient, executor_id: str, look_every: float) -> None:
    workflows = [workflow.workflow_id for workflow in _left_behind(client, executor_id)]
    if workflows:
        client.register_queue(RECOVERY_QUEUE, polling_interval_sec=look_every, on_conflict="always_update")
        client.resume_workflows(workflows, queue_name=RECOVERY_QUEUE)


def _left_behind(client: DBOSClient, executor_id: str | None = None) -> list[WorkflowStatus]:
    """The workflows that are under way, as far as they are ours to requeue."""
    under_way = client.list_workflows(
        status="PENDING",
        executor_id=executor_id,
        app_version=APPLICATION_VERSION,
        load_input=False,
        load_output=False,
    )
    return [workflow for workflow in under_way if workflow.queue_name in _NO_QUEUE_OF_THEIR_OWN]


def _client(system: sa.Engine) -> DBOSClient:
    return DBOSClient(system_database_engine=system, application_name=APP_NAME)
