"""What the code takes from DBOS that DBOS does not promise to keep. Each has its reason; tests fail where DBOS changes.

DBOS tells nobody when a step's body begins, which configuration it was given, or how it names a transaction. So the
methods that know are replaced by ones that also tell.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSClient, DBOSConfig, Queue, SQLAlchemyDatasource
from dbos._context import DBOSContext, get_local_dbos_context
from dbos._core import execute_dequeued_workflow
from dbos._dbos import _get_dbos_instance, _get_or_create_dbos_registry
from dbos._sys_db import SystemDatabase

Around = Callable[[str], contextlib.AbstractContextManager[None]]
"""Makes, from a step's name, a context manager in which the step's body runs."""

INTERNAL_QUEUE = "_dbos_internal_queue"
"""The queue onto which DBOS puts what it recovers, and what it resumes."""


def registered_workflows() -> dict[str, Any]:
    """DBOS's own list of workflows by their names. What is taken out of it, DBOS does not know any more."""
    return _get_or_create_dbos_registry().workflow_info_map


@contextlib.contextmanager
def workflows_step_aside(package: str) -> Iterator[None]:
    """Let an application that is loaded in this block define workflows by the names of a package's own.

    A process may have been forked from one that has imported the package. What nobody has defined anew is back after.
    """
    registered = registered_workflows()
    own = {name: each for name, each in registered.items() if each.__module__.startswith(f"{package}.")}
    for name in own:
        del registered[name]
    try:
        yield
    finally:
        for name, workflow in own.items():
            registered.setdefault(name, workflow)


def is_launched() -> bool:
    """Whether this process has launched DBOS."""
    with contextlib.suppress(Exception):
        return _get_dbos_instance()._launched  # noqa: SLF001
    return False


def current_context() -> DBOSContext | None:
    """The workflow and the step in which this code runs, if it runs in one: also what DBOS does on their behalf."""
    return get_local_dbos_context()


def system_database(dbos: DBOS) -> SystemDatabase:
    """What a launched DBOS asks for each step, and tells of each."""
    return dbos._sys_db  # noqa: SLF001


def execute(dbos: DBOS, status: Any, owner: str) -> None:
    """Run a stored workflow in this process, as what a queue has given out. A public call would choose the process."""
    execute_dequeued_workflow(dbos, status, owner)


def recorded_value(database: SystemDatabase, recorded: Any) -> Any:
    """A recorded result as DBOS reads it; raises what is recorded in its place."""
    return database._replay_recorded(recorded, "result")  # noqa: SLF001


def without_consumers(dbos: DBOS) -> None:
    """Take from a DBOS that is not launched yet what it would listen to: Kafka, for example."""
    dbos._registry.pollers = []  # noqa: SLF001
    dbos._registry.kafka_registrations = []  # noqa: SLF001


def requeue_for_recovery(client: DBOSClient, workflow_id: str, executor_id: str, queue: str) -> None:
    """Put a dead executor's workflow onto the queue that it came from, or else onto this one, as recovery does.

    The public `resume_workflows` forgets how often a workflow was tried, and its deadline.
    """
    client._sys_db.reenqueue_for_recovery(workflow_id, [executor_id], queue)  # noqa: SLF001


def override_configuration(settings: DBOSConfig) -> None:
    """Let these settings win over those that an application gives, when it makes its DBOS after this."""
    initialize = DBOS.__init__

    def with_overrides(self: DBOS, *, config: DBOSConfig, **more: Any) -> None:
        ours: Any = {**config, **settings}
        initialize(self, config=ours, **more)

    DBOS.__init__ = with_overrides  # type: ignore[method-assign]


def look_at_queues_every(seconds: float) -> None:
    """Let every queue be looked at so often, if it would be looked at less often. Recovery goes through a queue."""
    initialize = Queue.__init__

    def with_short_interval(self: Queue, *args: Any, **more: Any) -> None:
        initialize(self, *args, **more)
        self._polling_interval_sec = min(self._polling_interval_sec, seconds)

    Queue.__init__ = with_short_interval  # type: ignore[method-assign]


def look_for_results_every(seconds: float) -> None:
    """Let whoever waits for another workflow's result look for it so often, if it would look less often."""
    wait, wait_async = SystemDatabase.await_workflow_result, SystemDatabase.await_workflow_result_async

    def looking(self: SystemDatabase, workflow_id: str, interval: float, **more: Any) -> Any:
        return wait(self, workflow_id, min(interval, seconds), **more)

    async def awaiting(self: SystemDatabase, workflow_id: str, interval: float, **more: Any) -> Any:
        return await wait_async(self, workflow_id, min(interval, seconds), **more)

    patched: Any = SystemDatabase
    patched.await_workflow_result, patched.await_workflow_result_async = looking, awaiting


@contextlib.contextmanager
def around_steps(around: Around) -> Iterator[None]:
    """Let the body of each step that is defined in this block with `@DBOS.step()` run in a context manager."""
    decorate = DBOS.step

    def watched(*args: Any, **kwargs: Any) -> Any:
        if args and callable(args[0]):
            raise TypeError("@DBOS.step is called when it decorates: write @DBOS.step()")
        return lambda function: decorate(*args, **kwargs)(_inside(around, function, kwargs.get("name")))

    DBOS.step = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        DBOS.step = decorate  # type: ignore[method-assign]


def around_run_steps(around: Around) -> None:
    """Let the body of each step that is run with `DBOS.run_step` run in a context manager."""
    run, run_async = DBOS.run_step, DBOS.run_step_async

    def watched(options: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return run(options, _inside(around, function, (options or {}).get("name")), *args, **kwargs)

    async def awaited(options: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await run_async(options, _inside(around, function, (options or {}).get("name")), *args, **kwargs)

    DBOS.run_step = watched  # type: ignore[method-assign,assignment]
    DBOS.run_step_async = awaited  # type: ignore[method-assign,assignment]


def around_transactions(around: Around) -> None:
    """Let each transaction of a datasource run in a context manager."""
    for datasource, method in ((SQLAlchemyDatasource, "run_tx_step"), (AsyncSQLAlchemyDatasource, "run_tx_step_async")):
        setattr(datasource, method, _with_its_name(around, getattr(datasource, method)))


def _with_its_name(around: Around, run: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(run)
    def watched(self: Any, options: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with around(_name(options, function)):
            return run(self, options, function, *args, **kwargs)

    @wraps(run)
    async def awaited(self: Any, options: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with around(_name(options, function)):
            return await run(self, options, function, *args, **kwargs)

    return awaited if inspect.iscoroutinefunction(run) else watched


def _inside(around: Around, function: Callable[..., Any], name: str | None) -> Callable[..., Any]:
    step = name or function.__qualname__

    @wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        with around(step):
            return function(*args, **kwargs)

    @wraps(function)
    async def awaited_body(*args: Any, **kwargs: Any) -> Any:
        with around(step):
            return await function(*args, **kwargs)

    return awaited_body if inspect.iscoroutinefunction(function) else body


def _name(options: Any, function: Callable[..., Any]) -> str:
    given = (options or {}).get("name")
    return str(given or function.__qualname__)
