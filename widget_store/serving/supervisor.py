"""Keeps the workers of a store alive: a worker that dies is back at once, under the executor id it had."""

import contextlib
import multiprocessing as mp
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from widget_store.databases import Database, open_database
from widget_store.errors import DatabaseUnavailable, Starved, StoreDidNotStart, WidgetStoreError
from widget_store.plain_text import failure_in_words, plain
from widget_store.serving import executors
from widget_store.serving.ports import listen
from widget_store.serving.reset import claim_fresh
from widget_store.settings import PREFIX, Settings
from widget_store.system.interrupts import pending_when
from widget_store.system.limits import lack
from widget_store.system.processes import Connection, Processes, end_with_parent, stand_apart, start, warm_processes
from widget_store.system.windows import AS_ON_WINDOWS

if TYPE_CHECKING:
    from widget_store.crashtest.points import CrashPoints

_DEATHS_AT_START = 5
_STOP_WITHIN_SECONDS = 3.0
_LOOK_EVERY_SECONDS = 1.0
_LOOK_WHO_COMES_EVERY_SECONDS = 0.05
_LOOK_AT_STDIN_EVERY_SECONDS = 0.05
_END_WITHIN_SECONDS = 10.0  # more than a stop takes: the workers, and the embedded PostgreSQL


_ANYBODY_MAY_CRASH_IT = (
    "Whoever reaches this port can crash the store with POST /crash_application, every account of this machine "
    f"included. Set {PREFIX}CRASH_TOKEN to let only those do it who know it."
)


@dataclass(frozen=True)
class Plan:
    """What `serve` was asked for: see `widget-store serve --help`."""

    settings: Settings
    host: str = "127.0.0.1"
    port: int = 8000
    app_file: Path | None = None
    workers: int = 1
    restart: bool = True
    crash_points: "Callable[[], CrashPoints] | None" = None  # makes those of a worker that may be crashed over HTTP
    any_host: bool = False
    stop_with_stdin: bool = False
    application_version: str | None = None  # the store's own
    fresh: bool = False  # reset the store first; no other may run then
    alone: bool = False  # start only where no other store runs


def run(plan: Plan, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, and leave no process behind. `announce` is given the URL once the store answers.

    Raises:
        WidgetStoreError: When the store can't be started, or can't be kept alive.
    """
    processes = warm_processes("widget_store.serving.warm")  # they import while this one starts the database
    with _stop_signals(plan.stop_with_stdin) as stop:
        try:
            with open_database(plan.settings) as database, listen(plan.host, plan.port) as listener:
                plan = replace(plan, port=listener.getsockname()[1])
                Supervisor(plan, database, processes, listener, stop).run(announce)
        except KeyboardInterrupt:  # it has ended a wait for the database
            if not stop.poll():
                raise


class Supervisor:
    """Starts the workers and starts them again, until `stop` has something to read.

    The workers take what comes in from `listener`, which is held here from the first to the last. So nobody else, such
    as another account of the machine, can take the port while a worker is dead, and answer in its place: customers who
    come then wait for the moment until it is back.
    """

    def __init__(
        self, plan: Plan, database: Database, processes: Processes, listener: socket.socket, stop: Connection
    ) -> None:
        self._plan = plan
        self._database = database
        self._processes = processes
        self._stop = stop
        self._listener = listener
        self._announced = False

    def run(self, announce: Callable[[str], None]) -> None:
        """Keep the workers alive, until it is time to stop; `announce` is given the URL once all of them answer."""
        ids = self._claim(self._database, self._plan.workers)
        workers = [_WorkerProcess(self._plan, self._processes) for _ in ids.ids]
        try:
            self._start(workers, ids)
            while not self._stop.poll():
                self._wait(workers)
                dead = self._dead(workers)  # looked for before the database is: it may be why they died
                if not ids.still_held():
                    ids = self._outlast_outage(workers, ids)
                elif not self._stop.poll():
                    self._revive(dead)
                if not self._announced and all(worker.ready for worker in workers):
                    if self._plan.crash_points and self._plan.settings.crash_token is None:
                        _say(_ANYBODY_MAY_CRASH_IT)
                    announce(f"http://{_in_url(self._plan.host)}:{self._plan.port}")
                    self._announced = True
        finally:
            self._listener.close()  # whoever comes now is told at once that nobody is here
            _stop_all(workers)
            ids.release()

    @property
    def _claim(self) -> Callable[[Database, int], executors.ExecutorIds]:
        if self._plan.fresh:
            return claim_fresh
        return executors.claim_alone if self._plan.alone else executors.claim

    def _start(self, workers: "list[_WorkerProcess]", ids: executors.ExecutorIds) -> None:
        for worker, executor_id in zip(workers, ids.ids, strict=True):
            worker.start(executor_id, self._database, self._listener)

    def _wait(self, workers: "list[_WorkerProcess]") -> None:
        """Sleep until a worker is ready or dead, or it is time to stop, or to look at the database."""
        wait([self._stop, *(handle for worker in workers for handle in worker.handles())], _LOOK_EVERY_SECONDS)

    def _dead(self, workers: "list[_WorkerProcess]") -> "list[_WorkerProcess]":
        for worker in workers:
            worker.read_messages()
        return [worker for worker in workers if not worker.is_alive()]

    def _revive(self, dead: "list[_WorkerProcess]") -> None:
        for worker in dead:
            if not self._plan.restart:
                raise StoreDidNotStart(f"The store's process ended ({worker.last_words()}) and --no-restart was given.")
            if worker.ready:
                _say(f"{worker.executor_id} has died ({worker.last_words()}), and is started again.")
            worker.start_again()

    def _outlast_outage(self, workers: "list[_WorkerProcess]", lost: executors.ExecutorIds) -> executors.ExecutorIds:
        """The database went away, and the ids with it: start every worker afresh once it is back.

        The workers are ended first. Another store may be given their ids now, and would run their workflows too. They
        are not to be kept in any case: a workflow may have failed to record its end, or have missed the word that its
        payment is here. Recovery takes it up.
        """
        _say(f"The database is lost: {self._database.name}. The store starts again when it is back.")
        _kill_all(workers)
        lost.release()
        while not self._stop.poll():
            try:
                self._database = self._database.revived()
                # Other stores of this database have lost their ids, too, and notice it at their next look. Until then
                # their workers live: nobody may be given their ids.
                self._turn_away(2 * _LOOK_EVERY_SECONDS)
                ids = executors.claim(self._database, self._plan.workers)
            except (DatabaseUnavailable, Starved, psycopg.Error):
                self._turn_away(_LOOK_EVERY_SECONDS)
                continue
            _say("The database is back.")
            self._start(workers, ids)
            return ids
        return lost

    def _turn_away(self, seconds: float) -> None:
        """Hang up on whoever comes in these seconds: nobody serves, and it may be long until somebody does again."""
        deadline = time.monotonic() + seconds
        self._listener.setblocking(False)
        while not self._stop.poll() and (left := deadline - time.monotonic()) > 0:
            try:
                self._listener.accept()[0].close()
            except OSError:  # nobody is there, or not any more
                wait([self._stop], min(left, _LOOK_WHO_COMES_EVERY_SECONDS))


class _WorkerProcess:
    """One worker, in whichever process it lives in now."""

    def __init__(self, plan: Plan, processes: Processes) -> None:
        self._plan = plan
        self._processes = processes
        self._process: BaseProcess | None = None
        self._messages: Connection | None = None
        self._deaths_at_start = 0
        self._reason = ""
        self.executor_id = ""
        self.ready = False

    def start(self, executor_id: str, database: Database, listener: socket.socket) -> None:
        self.executor_id = executor_id
        self._database = database
        self._listener = listener
        self._deaths_at_start = 0
        self._launch()

    def start_again(self) -> None:
        """Start after a death.

        Raises:
            Starved: When it died before it was ready, and the machine is why.
            StoreDidNotStart: When it died five times in a row before it was ready, with the reason of the last.
        """
        self._deaths_at_start = 0 if self.ready else self._deaths_at_start + 1
        if self._deaths_at_start and (starved := lack(self.last_words())):  # the next one would not have more
            raise starved
        if self._deaths_at_start == _DEATHS_AT_START:
            raise StoreDidNotStart(
                f"The store died {_DEATHS_AT_START} times in a row while starting: {self.last_words()}"
            )
        self._launch()

    def _launch(self) -> None:
        self._close()
        self.ready = False
        self._reason = ""
        self._messages, theirs = self._processes.Pipe(duplex=False)
        process = self._processes.Process(
            target=_serve_in_this_process,
            args=(self.executor_id, self._plan, self._database, self._listener, theirs),
            name="worker",
        )
        try:
            start(process)
        except (EOFError, ConnectionError):  # a death at start, like others: the next start makes a new fork server
            self._reason = "the process that forks the workers was ended"
        else:
            self._process = process
        theirs.close()

    def handles(self) -> list[Any]:
        return [] if self._process is None else [self._process.sentinel, *([self._messages] if self._messages else [])]

    def read_messages(self) -> None:
        has_ended = not self.is_alive()  # asked first: its last word is there now
        with contextlib.suppress(EOFError, OSError):
            while self._messages is not None and self._messages.poll():
                kind, text = self._messages.recv()
                self.ready = self.ready or kind == "ready"
                self._reason = text
        if self._messages is not None and has_ended:
            self._messages.close()
            self._messages = None

    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def last_words(self) -> str:
        code = None if self._process is None else self._process.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        return self._reason or how

    def terminate(self) -> None:
        if AS_ON_WINDOWS:  # which can't ask a process to end
            self.kill()
        elif self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def join(self, deadline: float | None = None) -> None:
        if self._process is not None:
            self._process.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _close(self) -> None:
        if self._messages is not None:
            self._messages.close()
        if self._process is not None:
            self._process.join()
            self._process.close()
            self._process = None


def _stop_all(workers: list[_WorkerProcess]) -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + _STOP_WITHIN_SECONDS
    for worker in workers:
        worker.join(deadline)
    _kill_all(workers)


def _kill_all(workers: list[_WorkerProcess]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def _say(words: str) -> None:
    print(plain(words), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _stop_signals(stop_with_stdin: bool) -> Iterator[Connection]:
    """A connection that has something to read once the store shall stop. The handlers only note it; the loop acts."""
    stop, noted = mp.Pipe(duplex=False)

    def note(*_: object) -> None:
        with contextlib.suppress(OSError):
            noted.send_bytes(b"stop")

    which_stop = [signal.SIGTERM, signal.SIGINT]
    if sys.platform != "win32" and not AS_ON_WINDOWS and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        which_stop.append(signal.SIGHUP)  # the terminal was closed; with `nohup` the store goes on
    before = {which: signal.signal(which, note) for which in which_stop}
    if stop_with_stdin:
        threading.Thread(target=_when_stdin_ends, args=(note,), daemon=True).start()
    try:
        with pending_when(stop.poll):
            yield stop
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def _when_stdin_ends(act: Callable[[], None]) -> None:
    # Not through `sys.stdin`: a thread that waits inside its buffer is a fatal error when the interpreter ends.
    stdin = sys.stdin.fileno()
    if sys.platform == "win32":
        # Never in the midst of a read: there a process that is started meanwhile, and is given the same pipe, waits
        # for that read to end before it begins (CPython's issue 78961). So no worker would ever start.
        import _winapi
        import msvcrt

        with contextlib.suppress(OSError):  # its other end is closed
            while True:
                if _winapi.PeekNamedPipe(msvcrt.get_osfhandle(stdin))[0]:
                    os.read(stdin, 4096)
                time.sleep(_LOOK_AT_STDIN_EVERY_SECONDS)
    else:
        while os.read(stdin, 4096):
            pass
    act()
    # Whoever held it has died, perhaps: nobody is left to end a store that hangs, as in a start of the database.
    time.sleep(_END_WITHIN_SECONDS)
    os._exit(1)


def _serve_in_this_process(
    executor_id: str, plan: Plan, database: Database, listener: socket.socket, to_supervisor: Connection
) -> None:
    """The whole life of a worker process."""
    stand_apart()
    end_with_parent()
    from widget_store.serving.recovery import APPLICATION_VERSION
    from widget_store.serving.server import Worker, serve

    worker = Worker(
        executor_id=executor_id,
        database=database,
        settings=plan.settings,
        host=plan.host,
        port=plan.port,
        app_file=plan.app_file,
        any_host=plan.any_host,
        listener=listener,
        is_one_of_several=plan.workers > 1,
        application_version=plan.application_version or APPLICATION_VERSION,
    )
    try:
        points = plan.crash_points() if plan.crash_points else None
        serve(worker, on_ready=lambda _port: to_supervisor.send(("ready", "")), crash_points=points)
    except Exception as failure:  # noqa: BLE001 - whatever it was, the supervisor is told, and decides
        words = str(failure) if isinstance(failure, WidgetStoreError) else failure_in_words(failure)
        to_supervisor.send(("died", words))
        os._exit(1)
    os._exit(0)  # a workflow's thread may still wait for a payment; the next launch takes it up


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
