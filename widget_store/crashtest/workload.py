"""What is to be survived: an application, what is asked of it, and what must be true in the end."""

import contextlib
import copy
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import sqlalchemy as sa
from dbos import DBOSClient

from widget_store.crashtest import looking
from widget_store.crashtest.application import Application, Place
from widget_store.crashtest.process import LOOK_AGAIN_SECONDS, Lives
from widget_store.crashtest.python_application import PythonApplication
from widget_store.crashtest.recorder import Answer, Request
from widget_store.databases import Database
from widget_store.errors import AppFileError
from widget_store.system.python_file import load_python_file

_ASK_AGAIN = {503, 504}  # "not now" and "not yet"
_ENDED = {"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"}


class Workload:
    """One scenario of a DBOS application. Write a class for yours; each run of the crash test gets a copy of its own.

    Attributes:
        app: A Python file, beside the one with this class, or the name of a module. It takes the URL of its database
            from the environment variable `database_variable`, and that of DBOS's from DBOS_SYSTEM_DATABASE_URL; the
            latter wins over its own `DBOS(config=…)`. CRASH_TEST_RUN tells runs apart that go on side by side.
        asgi: The name of an ASGI application in it, where it is asked over HTTP.
        on_launch: The name of a function in it that is called in each process after `DBOS.launch()`, where it
            registers its queues and schedules.
        database_variable: The environment variable from which it takes the URL of its own database.
        environment: More environment variables.
        outside: The environment variable from which it takes the URL of a service outside of its database. There the
            crash test listens, answers with `answer`, and records: an effect that is there twice is a difference.
        ignore: What is left out when a run is compared with one that nothing disturbed: `table`; `table.column`;
            `workflow()` for the result of a workflow; `event key` for the value of an event. Columns with times, and
            random UUIDs, are left out in any case.
        may_fail: Names of workflows that may end with an error.
        sometimes: What some run must see, with `saw`. A search in which none does has tried too little, and fails.
        only: A pattern of the crash points that this workload is about.
        time_limit: Seconds after which a run is given up.
    """

    app: str | Path
    asgi: str = ""
    on_launch: str = ""
    database_variable: str = "DATABASE_URL"
    environment: Mapping[str, str] = {}
    outside: str = ""
    ignore: tuple[str, ...] = ()
    may_fail: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()
    only: str = "*"
    time_limit: float = 30.0

    def set_up(self, db: sa.Connection) -> None:
        """Make tables and first rows, once, in the database of which each run gets a copy. It commits for you."""

    def drive(self, app: "App") -> None:
        """Ask the application for its work. Each call is repeated until it is answered, whatever dies in between.

        Raises:
            AppFileError: When a workload does not say what that is.
        """
        del app
        raise AppFileError(f"{self.name} has no drive(self, app): say there what the application is asked for.")

    def check(self, db: sa.Connection) -> Iterable[str]:
        """Look at the database in the end, and yield a sentence for each violation."""
        del db
        return ()

    def answer(self, request: Request) -> Answer:
        """Answer for the service outside. Called once for each new call; a known idempotency key gets its answer."""
        return Answer(200, {"number": request.number})

    def saw(self, what: str) -> None:
        """Note in `drive` or `check` that one of those things has happened that happen `sometimes`."""
        self.seen.add(what)

    # --- for the crash test itself

    seen: set[str]
    place: Place
    compares = True
    """Whether runs are compared with an undisturbed one."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return type(self).__name__

    @property
    def target(self) -> str:
        """How the command `widget-store crash-test` is told to test this."""
        return f"{_file_of(type(self))}::{self.name}"

    def application(self) -> Application:
        """What runs in the process that is killed."""
        return PythonApplication(
            source=_source(self.app, type(self)),
            asgi=self.asgi,
            on_launch=self.on_launch,
            database_variable=self.database_variable,
            environment=dict(self.environment),
            outside=self.outside,
        )

    def before_run(self, db: sa.Connection) -> None:
        """Change a run's own copy of the database, before the application is started."""

    def for_one_run(self, place: Place) -> Self:
        """A copy that may keep what it sees, and knows where it is."""
        mine = copy.copy(self)
        mine.seen, mine.place = set(), place
        return mine


class App:
    """The application of a run, as `Workload.drive` has it. A process that has died is started again for each call.

    Args:
        lives: Its processes.
        database: Its database.
        check_room: Called now and then; raises when the machine has no room for the run.
    """

    def __init__(self, lives: Lives, database: Database, check_room: Callable[[], None] = lambda: None) -> None:
        self._lives = lives
        self._database = database
        self._check_room = check_room
        # Not to be verified, because it is plain HTTP: reading the certificates would take as long as a purchase.
        self._http = httpx.Client(trust_env=False, verify=False)  # noqa: S501
        self._looking = contextlib.ExitStack()
        self.connection = self._looking.enter_context(looking.looking_at(database))
        self._client: DBOSClient | None = None

    def connect_again(self) -> None:
        """Look through a new connection: the database server has lost the one before."""
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._looking.close()
        self.connection = self._looking.enter_context(looking.looking_at(self._database))

    def close(self) -> None:
        """Give back what it has opened."""
        self._looking.close()
        self._http.close()
        if self._client is not None:
            self._client.destroy()

    @property
    def client(self) -> DBOSClient:
        """A client of DBOS on this run's database, for what has no method here."""
        if self._client is None:
            self._client = looking.client_of(self._database)
        return self._client

    def start(self, workflow: str, workflow_id: str, *args: Any, **kwargs: Any) -> None:
        """Start a workflow in the application's process, as a call does. Its id makes that idempotent.

        Args:
            workflow: The name by which the application's module has it, such as `transfer` or `Bank.transfer`.
            workflow_id: Its id.
            args: Its arguments.
            kwargs: Its named arguments.

        Raises:
            CallFailed: When the application raised.
        """
        self._lives.call("start", workflow, workflow_id, args, kwargs)

    def enqueue(self, queue: str, workflow: str, workflow_id: str, *args: Any, **kwargs: Any) -> None:
        """Put a workflow onto a queue, as another program does: no kill can lose it.

        Args:
            queue: The name of the queue.
            workflow: The name by which DBOS has it.
            workflow_id: Its id.
            args: Its arguments.
            kwargs: Its named arguments.
        """
        options: Any = {"queue_name": queue, "workflow_name": workflow, "workflow_id": workflow_id}
        self._lives.port()  # the application makes the queue
        self.client.enqueue(options, *args, **kwargs)

    def trigger(self, schedule: str) -> None:
        """Let a schedule start its workflow now."""
        self._lives.port()
        self.client.trigger_schedule(schedule)

    def send(self, workflow_id: str, message: Any, topic: str | None = None) -> None:
        """Send a message to a workflow, once, as another program does."""
        self.client.send(workflow_id, message, topic)

    def event(self, workflow_id: str, key: str) -> Any:
        """Wait for an event of a workflow, and return its value."""
        query = sa.text("SELECT 1 FROM dbos.workflow_events WHERE workflow_uuid = :id AND key = :key")
        self._wait_until(lambda: self.connection.execute(query, {"id": workflow_id, "key": key}).first() is not None)
        return self.client.get_event(workflow_id, key, timeout_seconds=0)

    def result(self, workflow_id: str) -> Any:
        """Wait for the end of a workflow, and return its result.

        Raises:
            Exception: What the workflow has raised.
        """
        query = sa.text("SELECT status FROM dbos.workflow_status WHERE workflow_uuid = :id")
        self._wait_until(lambda: self.connection.execute(query, {"id": workflow_id}).scalar() in _ENDED)
        return self.client.retrieve_workflow(workflow_id).get_result()

    def wait(self) -> None:
        """Wait until no workflow is running, or waiting to. The end of `drive` does that, too."""
        self._wait_until(lambda: looking.at_rest(self.connection))

    def http(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Ask over HTTP, again and again until there is an answer other than 503 and 504.

        Args:
            method: Such as POST.
            path: Such as /transfers/t-1.
            request: What `httpx.Client.request` takes: `json`, `params`, `headers` and so on.
        """
        while True:
            url = f"http://127.0.0.1:{self._lives.port()}{path}"
            try:
                response = self._http.request(method, url, timeout=self._lives.seconds_left(), **request)
            except httpx.TransportError:
                continue
            if response.status_code not in _ASK_AGAIN:
                return response
            self._check_room()

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._lives.port()  # whatever is dead must come back for this
            time.sleep(LOOK_AGAIN_SECONDS)


def _source(app: str | Path, workload: type) -> Path | str:
    """A file, from the folder of the workload's own file where it is not absolute; or the name of a module."""
    if isinstance(app, str) and not app.endswith(".py"):
        return app
    return (_file_of(workload).parent / app).resolve()


def _file_of(workload: type) -> Path:
    try:
        return Path(inspect.getfile(workload))
    except (TypeError, OSError):  # a notebook's
        return Path("notebook.py").absolute()


def find_workload(target: str) -> Workload:
    """The workload that a command names.

    Args:
        target: FILE::NAME; the name may be left out where the file has one workload.

    Raises:
        AppFileError: When there is no such file, or no such class in it.
    """
    file, _, name = target.partition("::")
    module = load_python_file(Path(file).absolute())
    found = {
        each.__name__: each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Workload) and each.__module__ == module.__name__
    }
    if name in found or (not name and len(found) == 1):
        return found[name or next(iter(found))]()
    known = f"It has: {', '.join(found)}." if found else "Write a class there that inherits from Workload."
    raise AppFileError(f"{file} has no workload {name}. {known}" if name else f"Name the workload: FILE::NAME. {known}")
