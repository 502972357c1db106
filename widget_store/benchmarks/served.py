"""A store in child processes, and its customers: nothing but what is measured, unlike `lab.store`."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import httpx
import psutil

from widget_store.errors import StoreDidNotStart
from widget_store.settings import PREFIX, Settings
from widget_store.system.windows import SWITCH

_ANSWERED_WITHIN_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 0.005


@dataclass(frozen=True)
class Rush:
    """What came of many customers at once.

    Attributes:
        buys: The seconds of each purchase that was begun while it was measured.
        pays: Likewise of each payment.
        sold: Checkouts that were paid for, a second, in each window of time.
        dispatched: Orders whose dispatch ended, a second, in each window of time.
    """

    buys: list[float] = field(default_factory=list)
    pays: list[float] = field(default_factory=list)
    sold: list[float] = field(default_factory=list)
    dispatched: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Mark:
    moment: float
    sold: int
    dispatched: int


def _next_mark(before: _Mark, seconds: float, sold: Sized, dispatched: Callable[[], int]) -> _Mark:
    """The next moment: after so many seconds, or later, when something was sold and dispatched in between."""
    time.sleep(seconds)
    while True:
        mark = _Mark(time.perf_counter(), len(sold), dispatched())
        if mark.sold > before.sold and mark.dispatched > before.dispatched:
            return mark
        if mark.moment > before.moment + seconds + _ANSWERED_WITHIN_SECONDS:
            raise StoreDidNotStart(f"For {_ANSWERED_WITHIN_SECONDS:.0f} seconds, nothing was sold or dispatched.")
        time.sleep(_ASK_AGAIN_SECONDS)


class ServedStore:
    """A served store, seen from outside.

    Args:
        url: Where it answers.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = self._client()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def worker(self) -> psutil.Process:
        """A process that serves, below the supervisor; the only one, if there is one."""
        return psutil.Process(self._http.get("/healthz").json()["pid"])

    def get(self, path: str) -> float:
        """The seconds until a request is answered."""
        started = time.perf_counter()
        self._http.get(path).raise_for_status()
        return time.perf_counter() - started

    def post(self, path: str) -> str:
        """The answer to a request.

        Raises:
            httpx.HTTPError: When there is none, or it is a refusal.
        """
        return self._http.post(path).raise_for_status().text

    def checkouts(self, warm_up: int, how_many: int) -> tuple[list[float], list[float]]:
        """The seconds of each purchase and of each payment, back to back. What is paid for is dispatched meanwhile."""
        times = [_buy_and_pay(self._http) for _ in range(warm_up + how_many)][warm_up:]
        return [buy for buy, _ in times], [pay for _, pay in times]

    def rush(self, customers: int, warm_up: float, windows: int, window: float, dispatched: Callable[[], int]) -> Rush:
        """Let customers buy and pay as fast as they are served; each of them for every widget over a new connection.

        Args:
            customers: How many at once.
            warm_up: Seconds before anything is measured.
            windows: How many windows of time are measured, one behind the other.
            window: Seconds of each.
            dispatched: How many orders are DISPATCHED.
        """
        is_over = threading.Event()
        times: list[tuple[float, float, float]] = []  # begun, seconds to buy, seconds to pay

        def shop() -> None:
            while not is_over.is_set():
                with self._client() as http:
                    started = time.perf_counter()
                    times.append((started, *_buy_and_pay(http)))

        with ThreadPoolExecutor(customers) as crowd:
            shopping = [crowd.submit(shop) for _ in range(customers)]
            try:
                nothing = _Mark(time.perf_counter(), 0, dispatched())
                marks = [_next_mark(nothing, warm_up, times, dispatched)]
                for _ in range(windows):
                    marks.append(_next_mark(marks[-1], window, times, dispatched))
            finally:
                is_over.set()
            for each in shopping:
                each.result()  # whatever went wrong, the figures would be false
        measured = [each for each in times if marks[0].moment <= each[0] < marks[-1].moment]
        seconds = [end.moment - begin.moment for begin, end in pairwise(marks)]
        return Rush(
            buys=[buy for _, buy, _ in measured],
            pays=[pay for _, _, pay in measured],
            sold=[(end.sold - begin.sold) / s for (begin, end), s in zip(pairwise(marks), seconds, strict=True)],
            dispatched=[
                (end.dispatched - begin.dispatched) / s
                for (begin, end), s in zip(pairwise(marks), seconds, strict=True)
            ],
        )

    def buy_many(self, how_many: int) -> None:
        """Start so many checkouts; they wait for their payments."""
        with ThreadPoolExecutor(8) as crowd:
            list(crowd.map(lambda _: self.post(f"/checkout/{uuid4().hex}"), range(how_many)))

    def seconds_to_recover(self) -> float:
        """Buy, kill the process that has the order, and try to pay until it is taken."""
        payment_id = self.post(f"/checkout/{uuid4().hex}")
        worker = self.worker()
        killed = time.perf_counter()
        worker.kill()
        while time.perf_counter() < killed + _ANSWERED_WITHIN_SECONDS:
            try:
                self.post(f"/payment_webhook/{payment_id}/paid")
            except httpx.TransportError:  # nobody listens yet
                time.sleep(_ASK_AGAIN_SECONDS)
            else:
                return time.perf_counter() - killed
        raise StoreDidNotStart(f"The store was killed, and not back within {_ANSWERED_WITHIN_SECONDS:.0f} seconds.")

    def seconds_to_resume(self, all_go_on: Callable[[], bool]) -> float:
        """Kill the process that serves, and wait until every workflow that it had is running again.

        Args:
            all_go_on: Whether they run again.
        """
        worker = self.worker()
        killed = time.perf_counter()
        worker.kill()
        while time.perf_counter() < killed + _ANSWERED_WITHIN_SECONDS:
            if all_go_on():
                return time.perf_counter() - killed
            time.sleep(_ASK_AGAIN_SECONDS)
        raise StoreDidNotStart(f"Its workflows were not resumed within {_ANSWERED_WITHIN_SECONDS:.0f} seconds.")

    def _client(self) -> httpx.Client:
        # Nothing to verify: it is plain HTTP. Reading the certificates would take as long as a purchase.
        return httpx.Client(
            base_url=self._url,
            timeout=_ANSWERED_WITHIN_SECONDS,
            trust_env=False,
            verify=False,  # noqa: S501
        )


def _buy_and_pay(http: httpx.Client) -> tuple[float, float]:
    started = time.perf_counter()
    payment_id = http.post(f"/checkout/{uuid4().hex}").raise_for_status().text
    bought = time.perf_counter()
    http.post(f"/payment_webhook/{payment_id}/paid").raise_for_status()
    return bought - started, time.perf_counter() - bought


@contextlib.contextmanager
def served(settings: Settings, workers: int = 1, app: Path | None = None) -> Iterator[ServedStore]:
    """A store on these settings, from the moment it is ready. It stops with the block, or this process.

    Raises:
        StoreDidNotStart: When it ends before it is ready; it has said why.
    """
    command = [sys.executable, "-m", "widget_store", "serve", "--port", "0", "--stop-with-stdin"]
    command += ["--workers", str(workers), *([] if app is None else ["--app", str(app)])]
    environment = {name: value for name, value in os.environ.items() if name == SWITCH or not name.startswith(PREFIX)}
    environment[f"{PREFIX}DATA_DIR"] = str(settings.data_dir)
    environment[f"{PREFIX}DATABASE_URL"] = settings.database_url or ""
    environment[f"{PREFIX}DISPATCH_INTERVAL"] = str(settings.dispatch_interval)
    environment[f"{PREFIX}PAYMENT_TIMEOUT"] = str(settings.payment_timeout)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe: for the type checker
            ready = process.stdout.readline().split()
            if not ready:
                raise StoreDidNotStart(f"The store ended while starting (exit status {process.wait()}).")
            with contextlib.closing(ServedStore(ready[1])) as store:
                yield store
        finally:
            process.terminate()
            process.wait()
