"""What new code asks of DBOS while a stored workflow is replayed.

Every durable call goes through DBOS's system database, which has no public way to look: its methods are watched here.
A call with a checkpoint gets the recorded answer, from DBOS itself. A call without one never returns: its thread waits
for the end of the process. So no body of a step runs, and nothing is sent, published or started.
"""

import asyncio
import inspect
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Never

from dbos import DBOS
from dbos import error as dbos_error

from widget_store import dbos_internals
from widget_store.crashtest.replay.stored import Result, Step, StoredWorkflow
from widget_store.dbos_internals import registered_workflows

GET_RESULT, SET_EVENT, SLEEP = "DBOS.getResult", "DBOS.setEvent", "DBOS.sleep"
WAITS = ("DBOS.recv", "DBOS.getEvent")
"""Calls that take two numbers: the second is that of their timeout, a `DBOS.sleep`."""


@dataclass(frozen=True)
class NotRecorded:
    """The new code asked for a step that has no checkpoint."""

    number: int
    name: str


@dataclass(frozen=True)
class Differs:
    """The new code asked for another step than is recorded under this number."""

    number: int
    recorded: str
    asked: str


@dataclass(frozen=True)
class Ended:
    """The workflow returned or raised."""

    result: Result


Event = NotRecorded | Differs | Ended | None
"""What the new code did; None when it got a recorded answer."""


class _Stopped(BaseException):
    """Not an Exception: code of the application that handles those must not see it."""


@dataclass(frozen=True)
class Replayed:
    """A workflow that is being replayed.

    Attributes:
        events: What the new code does, as it comes.
        rest: The recorded steps that it has not asked for yet, by number.
    """

    stored: StoredWorkflow
    events: "queue.Queue[Event]" = field(default_factory=queue.Queue)
    rest: dict[int, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rest.update(self.stored.steps)

    def answered(self, number: int) -> None:
        """Note that the new code got what is recorded under this number."""
        step = self.rest.pop(number, None)
        timeout = self.rest.get(number + 1)
        if step is not None and step.name in WAITS and timeout is not None and timeout.name == SLEEP:
            del self.rest[number + 1]  # DBOS does not ask for it: the wait is over
        self.events.put(None)

    def check(self, number: int, name: str, of: str | None) -> None:
        """Compare a step that DBOS compares too little, if it is recorded."""
        step = self.stored.steps.get(number)
        if step is not None and step.name != name:
            self.stop(Differs(number, step.name, name))
        if step is not None and of is not None and step.of != of:
            self.stop(Differs(number, f"{name} of {step.of}", f"{name} of {of}"))

    def stop(self, event: Event) -> Never:
        """Note an event after which the workflow does not go on."""
        self.events.put(event)
        raise _Stopped


class Watch:
    """The system database of the launched DBOS, watched from here on.

    A workflow that is not being replayed, such as one that the application starts on its own, stops at its first step.
    """

    def __init__(self, dbos: DBOS) -> None:
        self._dbos = dbos
        self._replayed: dict[str, Replayed] = {}
        self._database = dbos_internals.system_database(dbos)
        self._real: dict[str, Callable[..., Any]] = {}
        for name in WATCHED:
            self._real[name] = getattr(self._database, name)
            setattr(self._database, name, getattr(self, name))
        for name, method in inspect.getmembers(self._database, inspect.isroutine):
            if not name.startswith("_") and not inspect.iscoroutinefunction(method):
                setattr(self._database, name, _waits_when_stopped(method))

    def start(self, stored: StoredWorkflow) -> Replayed:
        """Run a workflow of the copy in the new code, in a thread or task of DBOS.

        Raises:
            Exception: What DBOS raises when it can't: no such workflow, or inputs that can't be read.
        """
        replayed = self._replayed[stored.workflow_id] = Replayed(stored)
        status = self._database.get_workflow_status(stored.workflow_id)
        assert status is not None  # noqa: S101 - it was copied
        status["status"] = "PENDING"  # also of a finished one: DBOS runs no other
        dbos_internals.execute(self._dbos, status, "replay")
        return replayed

    def is_asynchronous(self, stored: StoredWorkflow) -> bool:
        """Whether several of the workflow's steps may be under way at a time."""
        return inspect.iscoroutinefunction(inspect.unwrap(registered_workflows()[stored.name]))

    def read(self, result: Result) -> Any:
        """A recorded value, or the exception that is recorded in its place: read by DBOS, pickles included."""
        recorded: Any = {"child_workflow_id": None, "child_shard_key": None, **result}
        try:
            return dbos_internals.recorded_value(self._database, recorded)
        except Exception as failure:  # noqa: BLE001 - anything may be recorded, and may be unreadable
            return failure

    # In the place of the system database's own

    def _check_operation_execution_txn(self, workflow_id: str, function_id: int, function_name: str, conn: Any) -> Any:
        replayed = self._of(workflow_id)
        try:
            found = self._real["_check_operation_execution_txn"](workflow_id, function_id, function_name, conn=conn)
        except dbos_error.DBOSUnexpectedStepError:
            replayed.stop(Differs(function_id, replayed.stored.steps[function_id].name, function_name))
        if found is None:
            replayed.stop(NotRecorded(function_id, function_name))
        replayed.answered(function_id)
        return found

    def record_sleep(self, *given: Any, **named: Any) -> float:
        """A recorded sleep is over at once: how much of it remains does not matter here."""
        self._real["record_sleep"](*given, **named)
        return 0.0

    def set_event_from_workflow(
        self, workflow_uuid: str, function_id: int, key: str, *given: Any, **named: Any
    ) -> None:
        """DBOS compares no keys: a new key at an old step would never be published."""
        self._of(workflow_uuid).check(function_id, SET_EVENT, key)
        self._real["set_event_from_workflow"](workflow_uuid, function_id, key, *given, **named)

    def patch(self, *, workflow_id: str, function_id: int, patch_name: str) -> bool:
        """DBOS would write the marker of a patch where nothing is recorded: there the replay ends."""
        replayed = self._of(workflow_id)
        if function_id not in replayed.stored.steps:
            replayed.stop(NotRecorded(function_id, patch_name))
        return self.deprecate_patch(workflow_id=workflow_id, function_id=function_id, patch_name=patch_name)

    def deprecate_patch(self, *, workflow_id: str, function_id: int, patch_name: str) -> bool:
        """The marker of a patch is asked for, if it is recorded."""
        return self.get_checkpoint_name(workflow_id=workflow_id, function_id=function_id) == patch_name

    def get_checkpoint_name(self, *, workflow_id: str, function_id: int) -> str | None:
        """Asynchronous code asks this in place of the two above."""
        step = self._of(workflow_id).stored.steps.get(function_id)
        if step is None:
            return None
        if step.name.startswith("DBOS.patch-"):
            self._of(workflow_id).answered(function_id)
        return step.name

    def await_workflow_result(self, workflow_id: str, *_given: Any, **_named: Any) -> Any:
        """A child's result is what its parent has recorded of it; the child itself is not looked at."""
        replayed, number = self._parent()
        for step in list(replayed.rest.values()):
            if (step.name, step.of) == (GET_RESULT, workflow_id):
                result = self.read(step.result)
                if step.result["error"] is not None:
                    raise result
                return result
        if not self.is_asynchronous(replayed.stored):  # there, the number may be that of a call beside this one
            replayed.check(number, GET_RESULT, workflow_id)
        return replayed.stop(NotRecorded(number, GET_RESULT))

    async def await_workflow_result_async(self, workflow_id: str, *given: Any, **named: Any) -> Any:
        """The same, for asynchronous code."""
        try:
            return self.await_workflow_result(workflow_id, *given, **named)
        except _Stopped:
            return await asyncio.Event().wait()

    def record_get_result(self, result_workflow_id: str, *given: Any, **named: Any) -> None:
        """DBOS writes a child's result without a look at what is recorded under this number: here it is compared."""
        context = given[3] if len(given) > 3 else named.get("ctx")  # behind the three columns of the result
        child = None if context is not None else result_workflow_id  # DBOS tells another id when it was called directly
        if context is None:
            context = dbos_internals.current_context()
            if context is None or not context.is_workflow():
                return
            context.function_id += 1
        replayed = self._of(context.workflow_id)
        if context.function_id not in replayed.stored.steps:
            replayed.stop(NotRecorded(context.function_id, GET_RESULT))
        replayed.check(context.function_id, GET_RESULT, child)
        replayed.answered(context.function_id)

    def update_workflow_outcome(self, workflow_id: str, _status: str, **outcome: Any) -> bool:
        """The workflow has ended: nothing is written."""
        if workflow_id in self._replayed:
            replayed = self._replayed[workflow_id]
            replayed.events.put(Ended({**replayed.stored.result, "output": None, "error": None, **outcome}))
        return True

    def _of(self, workflow_id: str) -> Replayed:
        if workflow_id not in self._replayed:
            raise _Stopped
        return self._replayed[workflow_id]

    def _parent(self) -> tuple[Replayed, int]:
        """The workflow that waits for a child here, and the number under which it records the result."""
        context = dbos_internals.current_context()
        if context is None:
            raise _Stopped
        if context.parent_workflow_id in self._replayed:  # the child was called directly, and this is its context
            return self._replayed[context.parent_workflow_id], context.parent_workflow_fid + 1
        return self._of(context.workflow_id), context.function_id + 1


WATCHED = (
    "_check_operation_execution_txn",
    "await_workflow_result",
    "await_workflow_result_async",
    "deprecate_patch",
    "get_checkpoint_name",
    "patch",
    "record_get_result",
    "record_sleep",
    "set_event_from_workflow",
    "update_workflow_outcome",
)


def _waits_when_stopped(method: Callable[..., Any]) -> Callable[..., Any]:
    """A call that does not return when it must not go on. Nothing is held meanwhile: its transaction is over."""

    @wraps(method)
    def watched(*given: Any, **named: Any) -> Any:
        try:
            return method(*given, **named)
        except _Stopped:
            if _is_in_event_loop():
                raise  # a plain step called by an asynchronous workflow: waiting here would stop all others
            return threading.Event().wait()

    return watched


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
