"""A DBOS application in a Python file or a module, as it is at work: it imports nothing of the kit."""

import importlib
import os
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy.engine import make_url

from widget_store import dbos_internals
from widget_store.crashtest.application import Line, Place
from widget_store.crashtest.points import CrashPoints
from widget_store.errors import AppFileError
from widget_store.plain_text import failure_in_words
from widget_store.system.python_file import load_python_file

APP_NAME = "crash-test"
_OURS = "widget_store"  # a notebook's processes are forked from one that has imported the shop
VERSION = "crash-test"  # DBOS recovers a workflow in the version that began it; unpinned, a clock in the source is one
_LOOK_EVERY_SECONDS = 0.02
_CONNECTIONS = 8


@dataclass(frozen=True)
class PythonApplication:
    """An application, loaded and launched as DBOS's documentation shows it.

    Attributes:
        source: A Python file, or the name of a module.
        asgi: The name of an ASGI application in it, to be served; empty for none.
        on_launch: The name of a function in it that is called in each process once DBOS is launched; empty for none.
        database_variable: The variable from which it takes the URL of its own database.
        environment: More environment variables.
        outside: The variable from which it takes the URL of a service outside; empty for none.
    """

    source: Path | str
    asgi: str = ""
    on_launch: str = ""
    database_variable: str = "DATABASE_URL"
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    outside: str = ""
    otherwise: str = "app"

    def prepare(self, place: Place, line: Line) -> None:
        """Make DBOS's tables, and what the application makes when it is loaded. Nothing is launched."""
        self._enter(place, place.database.system_engine())
        DBOS.migrate(_url(place.database.system_url))
        self._load()
        line.tell("ready", 0)

    def serve(self, place: Place, points: CrashPoints, line: Line) -> None:
        """Load it, launch DBOS unless it has done so itself, and do what the test asks for."""
        system = place.database.system_engine(pool_size=_CONNECTIONS, max_overflow=_CONNECTIONS)
        self._enter(place, system)
        points.watch(system)
        dbos_internals.around_run_steps(points.around_body)
        with points.made_by("launch"):
            with points.watch_step_bodies():
                module = self._load()
            self._launch(module)
        calls = threading.Thread(target=line.answer, args=(_Calls(module, points).do,), daemon=True)
        calls.start()
        if self.asgi:
            _serve_http(self._named(module, self.asgi), points, line)
        line.tell("ready", 0)
        calls.join()

    def _enter(self, place: Place, system: sa.Engine) -> None:
        """Take the place: by environment variables, and by settings that win over the application's own."""
        for name in [name for name in os.environ if name.startswith("DBOS_")]:
            del os.environ[name]  # of somebody's own application: a name, a version, the key of a control plane
        os.environ |= {
            "DBOS_SYSTEM_DATABASE_URL": _url(place.database.system_url),
            self.database_variable: _url(place.database.url),
            "CRASH_TEST_RUN": place.run,
            **({self.outside: place.outside} if self.outside else {}),
            **self.environment,
        }
        dbos_internals.override_configuration(_settings(place, system))
        dbos_internals.look_at_queues_every(_LOOK_EVERY_SECONDS)
        dbos_internals.look_for_results_every(_LOOK_EVERY_SECONDS)

    def _load(self) -> ModuleType:
        with dbos_internals.workflows_step_aside(_OURS):
            return self._loaded()

    def _loaded(self) -> ModuleType:
        if isinstance(self.source, Path):
            sys.path.insert(0, str(self.source.parent))
            return load_python_file(self.source)
        sys.path.insert(0, str(Path.cwd()))
        try:
            return importlib.import_module(self.source)
        except Exception as failure:
            raise AppFileError(f"The module {self.source} can't be imported: {failure_in_words(failure)}") from failure

    def _launch(self, module: ModuleType) -> None:
        if not dbos_internals.is_launched():
            DBOS(config={"name": APP_NAME})  # that of the application, where it has made one
            DBOS.launch()
        if self.on_launch:
            self._named(module, self.on_launch)()

    def _named(self, module: ModuleType, name: str) -> Any:
        try:
            return attrgetter(name)(module)
        except AttributeError:
            raise AppFileError(f"{self.source} defines no {name}.") from None


class _Calls:
    """What a test may ask an application for."""

    def __init__(self, module: ModuleType, points: CrashPoints) -> None:
        self._module = module
        self._points = points

    def do(self, what: str, arguments: tuple[Any, ...]) -> object:
        """Start a workflow: `start`, with its name, its id, and its arguments. It may be asked for again."""
        if what != "start":
            raise ValueError(f"an application can't {what}")
        name, workflow_id, args, kwargs = arguments
        with self._points.made_by("call"), SetWorkflowID(workflow_id):
            DBOS.start_workflow(self._workflow(name), *args, **kwargs)
        return None

    def _workflow(self, name: str) -> Any:
        try:
            return attrgetter(name)(self._module)
        except AttributeError:
            known = ", ".join(
                name
                for name, workflow in dbos_internals.registered_workflows().items()
                if not name.startswith("<temp>") and not workflow.__module__.startswith((f"{_OURS}.", "dbos."))
            )
            raise AppFileError(f"There is no workflow {name}. There are: {known or 'none'}.") from None


def _settings(place: Place, system: sa.Engine) -> DBOSConfig:
    return {
        "system_database_url": place.database.system_url,
        "system_database_engine": system,
        "dbos_system_schema": "dbos",
        "executor_id": place.executor,
        "application_version": VERSION,
        "log_level": "WARNING",
        "enable_otlp": False,
        "conductor_key": None,
        "run_migrations": True,
        "scheduler_polling_interval_sec": 0.1,
        "notification_listener_polling_interval_sec": 0.01,  # SQLite can't notify: DBOS looks this often
        "notification_coalesce_sec": 0.004,
    }


def _url(url: str) -> str:
    """A URL that SQLAlchemy, psycopg and DBOS all take."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql")
    return parsed.render_as_string(hide_password=False)


def _serve_http(asgi: Any, points: CrashPoints, line: Line) -> None:
    """Serve until the process is killed."""
    import uvicorn

    async def told(scope: Any, receive: Any, send: Any) -> None:
        with points.made_by("http"):
            await asgi(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    line.tell("ready", listener.getsockname()[1])
    uvicorn.Server(uvicorn.Config(told, log_level="warning", access_log=False)).run(sockets=[listener])
