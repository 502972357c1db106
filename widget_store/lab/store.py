"""A handle on a store process: start it, buy and pay, kill it, and wait for it to come back."""

import atexit
import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, Protocol, Self

import httpx
import psutil

from widget_store.databases import Database, open_database
from widget_store.errors import StoreDidNotStart, WidgetStoreError
from widget_store.lab.followers import Followers
from widget_store.lab.state import State
from widget_store.plain_text import plain
from widget_store.schema import OrderStatus
from widget_store.settings import PREFIX, read_settings
from widget_store.system.interrupts import OUT_OF_REACH, interrupts_wait
from widget_store.system.limits import LESSON, require
from widget_store.system.processes import descendant

_START_WITHIN_SECONDS = 60.0
_ANSWER_WITHIN_SECONDS = 90.0
_STOP_WITHIN_SECONDS = 6.0
_KNOWN_WITHIN_SECONDS = 5.0
_TRY_AGAIN_SECONDS = 0.02
_LINES_KEPT = 100
_LONGEST_LINE = 10_000
_LOST = (httpx.TransportError,)
_ASK_AGAIN = {503, 504}  # the store lives, and its database does not answer, or its workflow is slow


PROVIDER_URL = "PROVIDER_URL"
"""The variable in which a store's process finds the address of its payment provider."""


class HasUrl(Protocol):
    """Whatever answers somewhere."""

    @property
    def url(self) -> str:
        """Where it answers."""


class StoreRefused(WidgetStoreError):
    """The store said no. Its reason is the message; `status` is the HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass
class Death:
    """One death of the serving process. Times are seconds since 1970; `back_at` is None until it answers again."""

    died_at: float
    back_at: float | None = None


class Store:
    """A store process, and the database that it works on. `with Store() as store:` starts it and closes it again.

    A kernel has at most one: starting another closes the one before, so a cell may be run again.

    Every call is repeated while the store is away, with the same key, as a careful customer's would be. It returns when
    it is answered, whatever died in between. When 90 seconds are not enough, it raises what it met last. The menu
    *Kernel, Interrupt* ends a call, and leaves the store as it is.

    Args:
        app: A Python file with a `checkout_workflow` to serve instead of the store's own.
        payment_timeout: Seconds that a checkout waits for its payment; the setting by default.
        dispatch_interval: Seconds that each of the ten dispatch steps takes; the setting by default.
        webhook_secret: When given, the store believes only payments that are signed with it; `pay` signs none.
        application_version: The version of the workflows' code. A text pins it. "auto" is DBOS's own version, a
            hash of their source. By default, the kit pins it.
        provider: A payment provider, such as `Provider`. The store's process finds its address in the environment, as
            `PROVIDER_URL`: your file reads `os.environ["PROVIDER_URL"]`.

    Attributes:
        deaths: A list: each death of the serving process that this kernel has seen, with the times `died_at` and
            `back_at`, in seconds since 1970. `back_at` is None until the store answers again.
        followers: Panels that show what the database holds; they let go of it when the store is closed.
    """

    _of_this_kernel: ClassVar["Store | None"] = None

    def __init__(  # noqa: PLR0913 - each setting is given by its name
        self,
        app: str | Path | None = None,
        *,
        payment_timeout: float | None = None,
        dispatch_interval: float | None = None,
        webhook_secret: str | None = None,
        application_version: str | None = None,
        provider: HasUrl | None = None,
    ) -> None:
        self.deaths: list[Death] = []
        self.followers = Followers()
        self._app = app
        self._application_version = application_version
        # Only this kernel, and the page that it links to, may crash the store: other accounts of the machine reach its
        # port, too. Not among the arguments, which everybody sees in the list of processes.
        self._crash_token = secrets.token_urlsafe(32)
        # Without the secret of a real payment provider: in a lesson, the learner reports the payments, and in the one
        # about signatures chooses the secret.
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != f"{PREFIX}WEBHOOK_SECRET"},
            **_setting("CRASH_TOKEN", self._crash_token),
            **_setting("PAYMENT_TIMEOUT", payment_timeout),
            **_setting("DISPATCH_INTERVAL", dispatch_interval),
            **_setting("WEBHOOK_SECRET", webhook_secret),
            **({} if provider is None else {PROVIDER_URL: provider.url}),
        }
        self._resources = contextlib.ExitStack()
        self._database: Database | None = None
        self._state: State | None = None
        self._process: subprocess.Popen[str] | None = None
        self._output = _Output()
        self._http = _client()
        self._watched_pid: int | None = None

    @classmethod
    def fresh(cls, app: str | Path | None = None, **settings: Any) -> "Store":
        """Start a store with a full shelf, no orders and no workflows: the first order will be number 1.

        Args:
            app: As for `Store`.
            settings: The other arguments of `Store`.

        Raises:
            StoreDidNotStart: With what the store's process said; also when another store uses the database.
            DatabaseUnavailable: When the database can't be started or does not answer.
        """
        cls._stop_the_one_before()
        store = cls(app, **settings)
        try:
            store._start(fresh=True)
        except BaseException:
            store.close()
            raise
        return store

    # --- the process

    def start(self) -> Self:
        """Start the store and wait until it answers. It joins no other: two notebooks would see each other's orders.

        Raises:
            StoreDidNotStart: With what the store's process said; also when another store uses the database.
            DatabaseUnavailable: When the database can't be started or does not answer.
        """
        if not (self.is_running() and self.url):
            self._start()
        return self

    def crash(self, at: str | None = None) -> None:
        """Kill the serving process with SIGKILL, now or when a workflow next reaches a crash point.

        Args:
            at: The name of a crash point, or a pattern such as `*/*.mark_order_paid/effect/after`; None for now.

        Raises:
            StoreRefused: 422 when no crash point can have such a name.
        """
        _wait_until(lambda: self._watched_pid == self.worker_pid(), "the thread that notes crashes")
        if at is None:
            deaths = len(self.deaths)
            self._worker().kill()
            _wait_until(lambda: len(self.deaths) > deaths, "the death of the serving process")
        else:
            self._arm(at)

    def wait_until_back(self) -> None:
        """Wait until the store answers again after a crash.

        Raises:
            StoreDidNotStart: When the store isn't running, or takes too long.
        """
        self._ask("GET", "healthz")
        _wait_until(lambda: all(death.back_at for death in self.deaths), "the store's return")

    def restart(self) -> Self:
        """Stop the store in good order and start it again; what was under way goes on.

        Raises:
            StoreDidNotStart: With what the store's process said.
        """
        self.stop()
        return self.start()

    def stop(self) -> None:
        """End the store's processes. The database stays, for a look at what is left. Does no harm when done twice."""
        with interrupts_wait():
            if self._process is not None:
                _end(self._process, self._output)
                self._process = None

    def close(self) -> None:
        """Stop the store and let go of the database. The store can be started again."""
        with interrupts_wait():
            atexit.unregister(self.close)
            if Store._of_this_kernel is self:
                Store._of_this_kernel = None
            self.followers.end()
            self.stop()
            self._http.close()
            self._http = _client()
            if self._state is not None:
                self._state.close()
            self._state = self._database = None
            self._resources.close()

    def is_open(self) -> bool:
        """Whether the store was started, and neither closed nor replaced by another since. It may be stopped."""
        return Store._of_this_kernel is self

    def is_running(self) -> bool:
        """Whether the store's supervisor lives; its serving process may be on its way back from a crash."""
        return self._process is not None and _is_alive(self._process)

    @property
    def url(self) -> str:
        """The address at which the store answers. It is empty until the store is ready."""
        return self._output.url

    def worker_pid(self) -> int:
        """The id of the serving process: the one a crash kills."""
        return self._worker().pid

    @property
    def crash_token(self) -> str:
        """What `POST /crash_application` needs in the header `X-Crash-Token`."""
        return self._crash_token

    @property
    def output(self) -> str:
        """The last lines that the store's process has printed, errors included. Show them with `print(store.output)`.

        What a learner's own file prints is here too. Once the store has ended, the last line says how. Each start
        begins anew.
        """
        process = self._process
        if process is not None and not _is_alive(process):
            self._output.finish(process.returncode)
        return self._output.text()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Store(running)" if self.is_running() else "Store(stopped)"

    # --- the customer

    def buy(self, key: str | None = None) -> str:
        """Start a checkout and return its payment id.

        Args:
            key: The idempotency key; the same key again is the same purchase. A new one is made up if there is none.

        Raises:
            StoreRefused: 409 when the shelf is empty.
        """
        return self._ask("POST", f"checkout/{key or uuid.uuid4()}").text

    def pay(self, payment_id: str) -> int:
        """Report a payment as paid and return the order's id.

        Raises:
            StoreRefused: 404 for an unknown payment, 409 when the order was cancelled before.
        """
        return int(self._ask("POST", f"payment_webhook/{payment_id}/paid").text)

    def decline(self, payment_id: str) -> int:
        """Report a payment as failed and return the order's id.

        Raises:
            StoreRefused: 404 for an unknown payment, 409 when the order was paid before.
        """
        return int(self._ask("POST", f"payment_webhook/{payment_id}/failed").text)

    def product(self) -> dict[str, Any]:
        """Return what `GET /product` answers: `product_id`, `product`, `description`, `inventory` and `price`."""
        return dict(self._ask("GET", "product").json())

    def order(self, order_id: int) -> dict[str, Any]:
        """Return what `GET /order/{order_id}` answers: `order_id`, `order_status` as a number, and more.

        Raises:
            StoreRefused: 404 for an unknown order.
        """
        return dict(self._ask("GET", f"order/{order_id}").json())

    def restock(self) -> int:
        """Fill the shelf; return how many widgets were added."""
        return int(self._ask("POST", "restock").json()["added"])

    def wait_until_dispatched(self, order_id: int) -> None:
        """Wait until an order is DISPATCHED.

        Raises:
            StoreRefused: 404 for an unknown order, 409 for a cancelled one: no waiting would help.
            StoreDidNotStart: When the store isn't running, or the dispatch takes too long.
        """

        def is_dispatched() -> bool:
            status = self.state.status_of(order_id)
            if status is None:
                raise StoreRefused(404, f"There is no order {order_id}. Buy and pay: `pay` returns the order's id.")
            if status == OrderStatus.CANCELLED:
                raise StoreRefused(409, f"Order {order_id} is cancelled, so it will not be dispatched.")
            if status != OrderStatus.DISPATCHED:
                self._check_running()
            return status == OrderStatus.DISPATCHED

        _wait_until(is_dispatched, f"the dispatch of order {order_id}", _ANSWER_WITHIN_SECONDS)

    # --- what is in the database

    @property
    def state(self) -> "State":
        """What the database holds, as tables. It can be read also while the store is dead.

        Raises:
            StoreDidNotStart: When the store was never started, or is closed.
        """
        if self._state is None:
            if self._database is None:
                raise StoreDidNotStart("The store was never started. Call start() first.")
            self._state = State(self._database)
        return self._state

    # ---

    def _start(self, *, fresh: bool = False) -> None:
        require(LESSON)
        self.stop()  # when it has ended by itself, there are pipes to let go of
        if not self.is_open():
            self._stop_the_one_before()
        self._open_database()
        try:
            with interrupts_wait():
                self._output = _Output()
                self._process = _popen(self._app, self._application_version, self._environment, fresh=fresh)
                self._output.follow(self._process)
                Store._of_this_kernel = self
                atexit.register(self.close)
            self._output.wait_until_ready()
            threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
        except BaseException:
            self.stop()
            raise

    def _open_database(self) -> None:
        with interrupts_wait():
            if self._database is None:
                self._database = self._resources.enter_context(open_database(read_settings()))

    @classmethod
    def _stop_the_one_before(cls) -> None:
        if cls._of_this_kernel is not None:
            cls._of_this_kernel.close()

    def _check_running(self) -> None:
        process = self._process
        if process is None:
            raise StoreDidNotStart("The store isn't running. Run the cell that started it again, or call start().")
        if not _is_alive(process):
            why = self._output.error() or "something killed its process."
            raise StoreDidNotStart(f"The store has ended: {why}\nTo start it again, call start().")

    def _ask(self, method: str, path: str) -> httpx.Response:
        """Ask until there is an answer."""
        deadline = time.monotonic() + _ANSWER_WITHIN_SECONDS
        while True:
            self._check_running()
            try:
                response = self._http.request(method, f"{self.url}/{path}")
            except _LOST:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_TRY_AGAIN_SECONDS)
                continue
            except KeyboardInterrupt:  # it may have come in the midst of a connection, or of its locks
                self._http = _client()
                raise
            if response.is_success:
                return response
            if response.status_code not in _ASK_AGAIN or time.monotonic() > deadline:
                raise StoreRefused(response.status_code, _reason(response))
            time.sleep(_TRY_AGAIN_SECONDS)

    def _worker(self) -> psutil.Process:
        """The serving process: a descendant of the one that this kernel has started, or none is killed."""
        deadline = time.monotonic() + _KNOWN_WITHIN_SECONDS
        while True:
            pid, process = int(self._ask("GET", "healthz").json()["pid"]), self._process
            if process is not None and (worker := descendant(process.pid, pid)) is not None:
                return worker
            if time.monotonic() > deadline:
                raise StoreDidNotStart(f"What answers at {self.url} is not this store. Start it again.")
            time.sleep(_TRY_AGAIN_SECONDS)  # it has just died

    def _arm(self, point: str) -> None:
        """Arm a crash point, once. No answer means that the process has met it already: the next one shall live."""
        with contextlib.suppress(*_LOST):
            response = self._http.post(
                f"{self.url}/crash_application", params={"at": point}, headers={"X-Crash-Token": self._crash_token}
            )
            if not response.is_success:
                raise StoreRefused(response.status_code, _reason(response))

    def _watch(self, process: "subprocess.Popen[str]") -> None:
        """Note when the serving process dies and when the store answers again, as long as this store process runs."""
        with _client() as http:
            while process.poll() is None:
                with contextlib.suppress(httpx.HTTPError, psutil.Error, LookupError, TypeError, ValueError):
                    # Whoever answers while the store is dead may say anything.
                    worker = descendant(process.pid, int(http.get(f"{self.url}/healthz").json()["pid"]))
                    if worker is not None:
                        self._watch_worker(process, worker)
                time.sleep(_TRY_AGAIN_SECONDS)

    def _watch_worker(self, process: "subprocess.Popen[str]", worker: psutil.Process) -> None:
        """Note that the store is back, wait for the end of its serving process, and note when that was a death."""
        if self.deaths and self.deaths[-1].back_at is None:
            self.deaths[-1].back_at = time.time()
        self._watched_pid = worker.pid
        psutil.wait_procs([worker])
        was_told_to_stop = process.stdin is None or process.stdin.closed
        if not was_told_to_stop and process.poll() is None:
            self.deaths.append(Death(died_at=time.time()))


def _client() -> httpx.Client:
    """A client for a store on this machine: no proxy stands in between. It connects when it is used."""
    return httpx.Client(timeout=_ANSWER_WITHIN_SECONDS, trust_env=False)


def _setting(name: str, value: float | str | None) -> dict[str, str]:
    return {} if value is None else {PREFIX + name: str(value)}


class _Output:
    """What a store process prints. All of it is read, so the process never waits for a reader; the last lines are kept.

    Attributes:
        url: Where the store answers, once it has said so.
    """

    def __init__(self) -> None:
        self.url = ""
        self._is_over = False
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._last_words = ""
        self._reader: threading.Thread | None = None

    def follow(self, process: "subprocess.Popen[str]") -> None:
        """Read a process's output until it ends, and then close it."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe: for the type checker
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def wait_until_ready(self) -> None:
        """Wait until there is a URL.

        Raises:
            StoreDidNotStart: When there is nothing more to read, or it takes too long, with what was printed.
        """
        # It looks again and again: an interrupt in a wait for the reader could leave the reader's lock held for good.
        deadline = time.monotonic() + _START_WITHIN_SECONDS
        while not self.url:
            if self._is_over or time.monotonic() > deadline:
                how = (
                    "ended before it was ready"
                    if self._is_over
                    else f"was not ready after {_START_WITHIN_SECONDS:.0f} s"
                )
                raise StoreDidNotStart(self.error() or f"The store {how}. It printed:\n{self.text() or 'nothing'}")
            time.sleep(_TRY_AGAIN_SECONDS)

    def finish(self, exit_status: int) -> None:
        """Read what is left of the output of a process that has ended. A child of its may still hold the pipe."""
        if self._reader is not None:
            self._reader.join(timeout=1)
        self._last_words = _how_it_ended(exit_status)

    def text(self) -> str:
        """The last lines, and how the process has ended, if it has."""
        printed = "".join(self._lines)
        line_end = "" if printed.endswith("\n") or not (printed and self._last_words) else "\n"
        return printed + line_end + self._last_words

    def error(self) -> str:
        """The message with which the command has ended, if it had one."""
        _, sign, message = "".join(self._lines).rpartition("widget-store serve: ")
        return message.strip() if sign else ""

    def _read(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                # A learner's `print(…, end="")` may stand in front of the word that the store is ready.
                ready = None if self.url else re.search(r"ready (http://127\.0\.0\.1:\d+)\n", line)
                if ready is None:
                    self._lines.append(plain(line, _LONGEST_LINE))
                else:
                    self._lines.append(plain(line[: ready.start()], _LONGEST_LINE))
                    self.url = ready[1]
        self._is_over = True


def _how_it_ended(exit_status: int) -> str:
    if exit_status < 0:
        return f"The store was killed by {signal.Signals(-exit_status).name}.\n"
    return "The store was stopped.\n" if exit_status == 0 else f"The store ended with exit status {exit_status}.\n"


def _popen(
    app: str | Path | None, version: str | None, environment: dict[str, str], *, fresh: bool
) -> "subprocess.Popen[str]":
    """Start a store process. It ends with its standard input: so also when this kernel dies, however it does."""
    command = [sys.executable, "-P", "-m", "widget_store", "serve"]  # -P: a learner's random.py is not imported
    command += ["--port", "0", "--crash-endpoint", "--stop-with-stdin"]
    command += ["--fresh" if fresh else "--alone"]
    if app is not None:
        command += ["--app", str(app)]
    if version is not None:
        command += ["--application-version", version]
    if behind_hub():
        command += ["--any-host"]
    return subprocess.Popen(
        command,
        env=environment | {"PYTHONIOENCODING": "utf-8:backslashreplace"},  # whatever a learner's file prints
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        **OUT_OF_REACH,
    )


def _is_alive(process: "subprocess.Popen[str]") -> bool:
    with interrupts_wait():  # one in the midst of this would leave the lock of `poll` held for good
        return process.poll() is None


def _end(process: "subprocess.Popen[str]", output: _Output) -> None:
    """End a store process and let go of its pipes."""
    if process.stdin is not None:
        process.stdin.close()  # the supervisor takes this as the word to stop
    try:
        process.wait(_STOP_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # the workers end with it
        process.wait()
    output.finish(process.returncode)


def behind_hub() -> str | None:
    """The path under which a JupyterHub (Binder is one) shows this notebook server, or None outside of a hub."""
    return os.environ.get("JUPYTERHUB_SERVICE_PREFIX")


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text


def _wait_until(is_so: Callable[[], bool], what: str, within: float = _START_WITHIN_SECONDS) -> None:
    deadline = time.monotonic() + within
    while not is_so():
        if time.monotonic() > deadline:
            raise StoreDidNotStart(
                f"{within:.0f} s were not enough for {what}. In a terminal, `widget-store doctor` looks for the cause."
            )
        time.sleep(_TRY_AGAIN_SECONDS)
