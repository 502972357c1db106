"""One of several workers: a store process that nobody starts again."""

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from widget_store.databases import Database
from widget_store.errors import StoreDidNotStart, WidgetStoreError
from widget_store.plain_text import failure_in_words
from widget_store.serving.executors import ExecutorIds
from widget_store.settings import Settings
from widget_store.system.processes import Processes, be_silent, end_with_parent, stand_apart, start

_READY_WITHIN_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Assignment:
    """What a worker serves, and for whom.

    Attributes:
        database: Where it takes the first executor id that is free.
        app_file: A learner's file; None for the store's own checkout.
        fresh: Reset the store first, under the first executor id; no other store may run then.
        alone: Take the first executor id; no other store may run then.
        environment: Variables that its process, and so a learner's file, finds beside those of this one.
    """

    database: Database
    settings: Settings
    app_file: Path | None = None
    fresh: bool = False
    alone: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkerProcess:
    """A worker, from its start to its death.

    Attributes:
        name: Its executor id, once it is ready.
        url: Where it answers, once it is ready.
    """

    def __init__(self, processes: Processes, assignment: Assignment) -> None:
        self.name = ""
        self.url = ""
        self._messages, theirs = processes.Pipe(duplex=False)
        self._process = processes.Process(target=_work, args=(assignment, theirs), name="worker")
        start(self._process)
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until it answers.

        Raises:
            StoreDidNotStart: With what it said before it died.
        """
        deadline = time.monotonic() + _READY_WITHIN_SECONDS
        with contextlib.suppress(EOFError, OSError):  # it died without a word
            while wait([self._messages], timeout=max(0.0, deadline - time.monotonic())):
                kind, text = self._messages.recv()
                if kind == "failed":
                    raise StoreDidNotStart(text)
                self.name, self.url = text
                return
        raise StoreDidNotStart(
            f"A worker died, or was not ready after {_READY_WITHIN_SECONDS:.0f} s. `widget-store doctor` looks "
            "for the cause."
        )

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does; returns when it is dead. Does no harm when done twice."""
        self._process.kill()
        self._process.join()
        self._messages.close()


def _end_without(held: ExecutorIds) -> None:
    """End this process when its executor id is lost, as after a restart of PostgreSQL: another worker may have it."""
    while held.still_held():
        time.sleep(_LOOK_EVERY_SECONDS)
    os._exit(1)


def _work(assignment: Assignment, to_lab: Connection) -> None:
    """The whole life of a worker: what `widget-store serve --no-restart` does, in one process.

    It holds its executor id itself. So the id is free as soon as it is dead, and no supervisor is there to take it.
    """
    stand_apart()
    end_with_parent()
    be_silent()
    os.environ.update(assignment.environment)
    from widget_store.serving import executors
    from widget_store.serving.reset import claim_fresh
    from widget_store.serving.server import Worker, serve

    try:
        claim = executors.claim_alone if assignment.alone else executors.claim
        held = (claim_fresh if assignment.fresh else claim)(assignment.database, 1)
        threading.Thread(target=_end_without, args=(held,), daemon=True).start()
        (name,) = held.ids
        worker = Worker(
            executor_id=name,
            database=assignment.database,
            settings=assignment.settings,
            port=0,
            app_file=assignment.app_file,
        )
        serve(worker, on_ready=lambda port: to_lab.send(("ready", (name, f"http://127.0.0.1:{port}"))))
    except Exception as failure:  # noqa: BLE001 - whatever it was, the lab is told
        words = str(failure) if isinstance(failure, WidgetStoreError) else failure_in_words(failure)
        to_lab.send(("failed", words))
    os._exit(1)
