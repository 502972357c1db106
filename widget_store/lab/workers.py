"""Several workers on one database: buy through any of them, kill one for good, and see who works on what."""

import atexit
import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx
import pandas as pd
from dbos import DBOSClient, WorkflowStatus

from widget_store.databases import Database, open_database
from widget_store.errors import StoreDidNotStart, WidgetStoreError
from widget_store.lab.followers import Followers
from widget_store.lab.processes import lab_processes
from widget_store.lab.state import State, order_created_by
from widget_store.lab.store import StoreRefused
from widget_store.lab.worker import Assignment, WorkerProcess
from widget_store.plain_text import failure_in_words, in_a_line
from widget_store.schema import OrderStatus
from widget_store.settings import Settings, read_settings
from widget_store.system.interrupts import interrupts_wait

_ANSWER_WITHIN_SECONDS = 90.0
_LOOK_AGAIN_SECONDS = 0.02
_ASK_AGAIN = {503, 504}  # "not now" and "not yet"
START_AGAIN = "Run again from the cell with Workers.fresh."
"""The fix when no worker lives."""


class WorkerIsDead(WidgetStoreError):
    """The worker that was asked is dead, and will not come back."""


class Workers:
    """Several workers on one database. `with Workers() as workers:` starts them and closes them again.

    Each worker has its own process, port and executor id, such as "worker-1". Nobody starts a dead one again: `kill` is
    for good. All workers end with the kernel. A kernel has them once: starting others closes these.

    Args:
        how_many: Workers to start with.
        app: A Python file with a `checkout_workflow` to serve instead of the store's own.
        database: The database that they share; that of the settings by default.
        payment_timeout: Seconds that a checkout waits for its payment; the setting by default.
        dispatch_interval: Seconds that each of the ten dispatch steps takes; the setting by default.

    Attributes:
        followers: Panels that show what the database holds; they let go of it when the workers are closed.
    """

    _of_this_kernel: ClassVar["Workers | None"] = None

    def __init__(
        self,
        how_many: int = 2,
        app: str | Path | None = None,
        *,
        database: Database | None = None,
        payment_timeout: float | None = None,
        dispatch_interval: float | None = None,
    ) -> None:
        self.followers = Followers()
        self._how_many = how_many
        self._app_file = None if app is None else Path(app)
        self._database = database
        pace = {"payment_timeout": payment_timeout, "dispatch_interval": dispatch_interval}
        given = {name: value for name, value in pace.items() if value is not None}
        # Without the secret of a real payment provider: in a lesson, the learner reports the payments.
        self._settings: Settings = read_settings().model_copy(update={**given, "webhook_secret": None})
        self._workers: list[WorkerProcess] = []
        self._resources = contextlib.ExitStack()
        self._state: State | None = None
        self._http = _client()

    @classmethod
    def fresh(cls, how_many: int = 2, app: str | Path | None = None, **settings: Any) -> "Workers":
        """Start workers with a full shelf, no orders and no workflows.

        Args:
            how_many: Workers to start with.
            app: As for `Workers`.
            settings: The other arguments of `Workers`.

        Raises:
            StoreDidNotStart: With what one of them said before it died.
            DatabaseUnavailable: When the database can't be started or does not answer.
        """
        workers = cls(how_many, app, **settings)
        workers._open_database()  # before the others let go of it, so that it goes on running
        try:
            workers._start_all(fresh=True)
        except BaseException:
            workers.close()
            raise
        return workers

    # --- the processes

    def start(self) -> Self:
        """Start the workers and wait until all of them answer. Does nothing when it was done before.

        Raises:
            StoreDidNotStart: With what one of them said before it died.
            DatabaseUnavailable: When the database can't be started or does not answer.
        """
        if not self.is_open():
            self._start_all()
        return self

    def add(self) -> str:
        """Start one more worker, and return its name: the first free one, which may be that of a dead worker.

        Raises:
            StoreDidNotStart: With what it said before it died.
        """
        (worker,) = self._start(1)
        return worker.name

    def kill(self, name: str) -> None:
        """Kill a worker with SIGKILL. Nobody starts it again.

        Raises:
            WorkerIsDead: When it is dead already.
        """
        self._named(name).kill()

    def close(self) -> None:
        """End all workers and let go of the database. Does no harm when done twice."""
        with interrupts_wait():
            atexit.unregister(self.close)
            if Workers._of_this_kernel is self:
                Workers._of_this_kernel = None
            workers, self._workers = self._workers, []
            for worker in workers:
                worker.kill()
            self.followers.end()
            self._http.close()
            self._http = _client()
            if self._state is not None:
                self._state.close()
                self._state = None
            self._resources.close()

    @property
    def names(self) -> list[str]:
        """The executor ids of all workers, also of the dead ones. A worker has one when it is ready."""
        return sorted({worker.name for worker in self._workers if worker.name}, key=lambda name: (len(name), name))

    def alive(self) -> list[str]:
        """Return the executor ids of the workers that live."""
        living = {worker.name for worker in self._workers if worker.is_alive()}
        return [name for name in self.names if name in living]

    def is_open(self) -> bool:
        """Whether there are workers, dead or alive, and they were not closed."""
        return bool(self._workers)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        living = self.alive()
        return f"Workers({', '.join(f'{name} {_lives(name in living)}' for name in self.names) or 'closed'})"

    # --- the customer

    def buy(self, key: str | None = None, *, at: str | None = None) -> str:
        """Start a checkout and return its payment id.

        Args:
            key: The idempotency key; the same key again is the same purchase. A new one is made up if there is none.
            at: The worker to ask; one that lives by default.

        Raises:
            StoreRefused: 409 when the shelf is empty.
            WorkerIsDead: When the worker is dead, or dies before it answers.
        """
        return self._ask(f"checkout/{key or uuid.uuid4()}", at)

    def pay(self, payment_id: str, *, at: str | None = None) -> int:
        """Report a payment as paid and return the order's id. It may be reported to any worker.

        Args:
            payment_id: What `buy` has returned.
            at: The worker to ask; one that lives by default.

        Raises:
            StoreRefused: 404 for an unknown payment, 409 when the order was cancelled before.
            WorkerIsDead: When the worker is dead, or dies before it answers.
        """
        return int(self._ask(f"payment_webhook/{payment_id}/paid", at))

    def wait_until_dispatched(self, *order_ids: int) -> None:
        """Wait until these orders are DISPATCHED.

        Raises:
            WidgetStoreError: When a dispatch has failed, when no worker lives, or when it takes too long.
        """
        self._wait_until(
            lambda: all(self.state.status_of(each) == OrderStatus.DISPATCHED for each in order_ids),
            f"the dispatch of order{'s' if len(order_ids) > 1 else ''} {', '.join(map(str, order_ids))}",
        )

    def wait_until_idle(self) -> None:
        """Wait until no workflow is under way, in a queue, or delayed.

        Raises:
            WidgetStoreError: When a workflow has failed, when no worker lives, or when it takes too long.
        """
        self._wait_until(lambda: not self._unfinished(), "the end of all workflows")

    # --- what is in the database

    @property
    def state(self) -> State:
        """What the database holds, as tables. It can be read also while every worker is dead.

        Raises:
            StoreDidNotStart: When the workers were never started, or are closed.
        """
        if self._state is None:
            if self._database is None:
                raise StoreDidNotStart("The workers were never started, or are closed. Run the cell that starts them.")
            self._state = State(self._database)
        return self._state

    @property
    def client(self) -> DBOSClient:
        """DBOS's own way to look at workflows from outside, and to cancel, resume, fork and rewind them."""
        return self.state.client

    def workflows(self) -> pd.DataFrame:
        """Return a row for each workflow, oldest first: `workflow`, its id; `status`; and `worker`.

        `worker` is the one that has it or had it, and "" while it is in a queue.
        """
        records = [(in_a_line(each.workflow_id), each.status, _worker_of(each)) for each in self.state.all_workflows()]
        return pd.DataFrame(records, columns=["workflow", "status", "worker"]).set_index("workflow")

    def orders(self) -> pd.DataFrame:
        """Return a row for each order, newest first: `order`, `status`, and `worker`, the last that worked on it."""
        statuses = self.state.orders()["status"]
        last: dict[int, str] = {}
        workflows = self.state.all_workflows()
        checkouts = [each.workflow_id for each in workflows if each.parent_workflow_id is None]
        order_of = {checkout: self._order_of(checkout) for checkout in checkouts}
        for each in workflows:  # a dispatch comes behind the checkout that has started it
            order_id = order_of.get(each.parent_workflow_id or each.workflow_id)
            if order_id is not None:
                last[order_id] = _worker_of(each)
        return pd.DataFrame({"status": statuses, "worker": [last.get(each, "") for each in statuses.index]})

    def dispatches_at(self, name: str) -> dict[int, str]:
        """Return the dispatches that a worker has under way: a dict with the workflow id of each, by the order's id."""
        under_way = self.client.list_workflows(
            status="PENDING", executor_id=name, has_parent=True, load_input=False, load_output=False
        )
        found = ((self._order_of(each.parent_workflow_id or ""), each.workflow_id) for each in under_way)
        return {order_id: dispatch for order_id, dispatch in found if order_id is not None}

    def dispatches(self) -> pd.DataFrame:
        """Return a row for each dispatch that has ended: `dispatch`, its id; `first step`; and `last step`.

        All first and last steps are numbered together, in the order in which they happened. If two dispatches did not
        overlap, one has 1 and 2, and the other has 3 and 4.
        """
        spans = {
            workflow.workflow_id: (steps[0].started_at, steps[-1].ended_at)
            for workflow in self.state.all_workflows()
            if workflow.parent_workflow_id is not None
            and workflow.status == "SUCCESS"
            and (steps := self.state.steps_of(workflow.workflow_id))
        }
        moments = sorted(moment for span in spans.values() for moment in span)
        records = [
            (in_a_line(workflow_id), moments.index(begins) + 1, moments.index(ends) + 1)
            for workflow_id, (begins, ends) in sorted(spans.items(), key=lambda item: item[1])
        ]
        return pd.DataFrame(records, columns=["dispatch", "first step", "last step"]).set_index("dispatch")

    # ---

    def _open_database(self) -> None:
        with interrupts_wait():
            if self._database is None:
                self._database = self._resources.enter_context(open_database(read_settings()))
                self._resources.callback(setattr, self, "_database", None)

    def _start_all(self, *, fresh: bool = False) -> None:
        self._open_database()
        if Workers._of_this_kernel is not None:
            Workers._of_this_kernel.close()
        Workers._of_this_kernel = self
        atexit.register(self.close)
        try:
            self._start(self._how_many, fresh=fresh)
        except BaseException:
            self.close()
            raise

    def _start(self, how_many: int, *, fresh: bool = False) -> list[WorkerProcess]:
        assert self._database is not None  # noqa: S101 - it is open: for the type checker
        assignment = Assignment(self._database, self._settings, self._app_file)
        processes = lab_processes()
        started: list[WorkerProcess] = []
        try:
            for _ in range(how_many):
                is_first = not self.alive()  # then no other store may run, which nobody of ours would know
                with interrupts_wait():
                    worker = WorkerProcess(processes, replace(assignment, fresh=fresh and is_first, alone=is_first))
                    started.append(worker)
                    self._workers.append(worker)
                if is_first:
                    worker.wait_until_ready()  # it makes the tables; two that make them at once disturb each other
            for worker in started:
                if not worker.name:
                    worker.wait_until_ready()
        except BaseException:
            with interrupts_wait():  # it may be an interrupt: of a worker that is not ready, nobody would know the name
                for worker in started:
                    worker.kill()
                    self._workers.remove(worker)
            raise
        return started

    def _named(self, name: str) -> WorkerProcess:
        for worker in self._workers:
            if worker.name == name and worker.is_alive():
                return worker
        living = ", ".join(self.alive())
        fix = "" if living else f" {START_AGAIN}"
        raise WorkerIsDead(f"{name} is not running. Running workers: {living or 'none'}.{fix}")

    def _ask(self, path: str, at: str | None) -> str:
        """Ask until there is an answer; only the one worker, if one is named."""
        deadline = time.monotonic() + _ANSWER_WITHIN_SECONDS
        while True:
            name = at or next(iter(self.alive()), "any worker")
            worker = self._named(name)
            try:
                response = self._http.post(f"{worker.url}/{path}")
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_AGAIN_SECONDS)  # until its death is known
                continue
            except KeyboardInterrupt:  # it may have come in the midst of a connection, or of its locks
                self._http = _client()
                raise
            if not worker.is_alive():  # then it may have been somebody else who has taken its port since
                continue
            if response.is_success:
                return response.text
            if response.status_code not in _ASK_AGAIN or time.monotonic() > deadline:
                raise StoreRefused(response.status_code, _reason(response))
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _ANSWER_WITHIN_SECONDS
        while True:
            is_done = is_so()
            for failed in self.client.list_workflows(status="ERROR", load_input=False):
                raise WidgetStoreError(f"{in_a_line(failed.name)} has failed: {failure_in_words(failed.error)}")
            if is_done:
                return
            if not self.alive():
                raise WorkerIsDead(f"All workers are dead, so {what} will not happen. {START_AGAIN}")
            if time.monotonic() > deadline:
                raise StoreDidNotStart(
                    f"{_ANSWER_WITHIN_SECONDS:.0f} s were not enough for {what}. Run the cell again. If that does "
                    "not help, see `widget-store doctor`."
                )
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _unfinished(self) -> list[WorkflowStatus]:
        return self.client.list_workflows(
            status=["PENDING", "ENQUEUED", "DELAYED"], load_input=False, load_output=False
        )

    def _order_of(self, checkout: str) -> int | None:
        """The order that a checkout has created, if it is that far."""
        return order_created_by(self.state.steps_of(checkout))


def _client() -> httpx.Client:
    """A client for stores on this machine: no proxy stands in between. It connects when it is used."""
    return httpx.Client(timeout=_ANSWER_WITHIN_SECONDS, trust_env=False)


def _worker_of(workflow: WorkflowStatus) -> str:
    """Who runs a workflow, or ran it; nobody, while it is in a queue."""
    return "" if workflow.status == "ENQUEUED" else workflow.executor_id or ""


def _lives(is_alive: bool) -> str:
    return "is running" if is_alive else "is dead"


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text
