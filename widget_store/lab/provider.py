"""A handle on the payment provider: start it, say how it behaves, and read its log."""

import atexit
import contextlib
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import ClassVar, Self

import pandas as pd

from widget_store.errors import StoreDidNotStart
from widget_store.lab.processes import lab_processes
from widget_store.lab.provider_process import UNDER_WAY, Behaviour, Lines, Mood, work
from widget_store.lab.store import Store
from widget_store.plain_text import in_a_line
from widget_store.system.interrupts import interrupts_wait
from widget_store.system.processes import start

_READY_WITHIN_SECONDS = 60.0
_SETTLED_WITHIN_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.02
_COLUMNS = {"what": "what", "order": "order", "key": "idempotency key", "money": "money", "answer": "answer"}


class Provider:
    """The payment provider: a process of its own, which no crash of the store reaches.

    `with Provider() as provider:` starts it and ends it again. It ends with the kernel. A kernel has at most one:
    starting another ends the one before.

    It answers `POST /charges` and `POST /refunds`, each with the body `{"order": "…"}`. A charge takes the money. With
    the header `Idempotency-Key`, a repeated charge takes nothing again, and gets the same answer. A refund gives back
    whatever was taken for the order, and from then on nothing is taken for it.

    Attributes:
        url: Where it answers. `Store(provider=…)` passes it to the store's process, as the variable `PROVIDER_URL`.
    """

    _of_this_kernel: ClassVar["Provider | None"] = None

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        processes = lab_processes()
        self._messages, theirs = processes.Pipe()
        self._process = processes.Process(target=work, args=(theirs,), name="payment provider", daemon=True)
        start(self._process)
        theirs.close()
        if not self._messages.poll(_READY_WITHIN_SECONDS):
            self.close()
            raise StoreDidNotStart(f"The payment provider did not start within {_READY_WITHIN_SECONDS:.0f} s.")
        try:
            self.url = f"http://127.0.0.1:{self._messages.recv()}"
        except EOFError:
            self.close()
            raise StoreDidNotStart("The payment provider died while it started. Run the cell again.") from None

    @classmethod
    def fresh(cls) -> "Provider":
        """Start a provider that behaves well, with an empty log, in the place of the one that this kernel had.

        Raises:
            StoreDidNotStart: When its process can't be started.
        """
        if cls._of_this_kernel is not None:
            cls._of_this_kernel.close()
        provider = cls._of_this_kernel = cls()
        atexit.register(provider.close)
        return provider

    def behave(
        self, how: str, *, times: int | None = None, seconds: float | None = None, only: str | None = None
    ) -> None:
        """Let it behave in another way, from the next request on.

        Args:
            how: "well"; "slow", which takes the money at once and answers late; "down", which answers 503; "refuse",
                which answers 402; "answer twice", which also reports the payment to the store's webhook, two times; or
                "lose the answer", which takes the money and cuts the connection.
            times: For how many requests. Then it behaves well again. By default, until you say otherwise.
            seconds: How long a slow answer takes; 2 by default.
            only: "charge" or "refund": the others are met well. By default, all requests are met so.

        Raises:
            ValueError: When it knows no such behaviour.
            StoreDidNotStart: When the provider is closed.
        """
        mood = Mood(Behaviour(how), times, only=only)
        self._tell("mood", mood if seconds is None else replace(mood, seconds=seconds))

    def reports_to(self, store: Store) -> None:
        """Name the store whose webhook is told of payments, by a provider that answers twice."""
        self._tell("webhook", store.url)

    def log(self, *, settled: bool = True) -> pd.DataFrame:
        """Return a row for each request, and each report to the store, oldest first.

        The index is `request`. `what` is "charge", "refund" or "report"; `order` and `idempotency key` are what the
        store sent; `money` is "taken", "given back" or empty; `answer` is the HTTP status, or "none" when the answer
        was lost, or nobody waited for it any more.

        Args:
            settled: Wait until no request is under way. Otherwise, the answer of such a request is "…".

        Raises:
            StoreDidNotStart: When the provider is closed, or a request takes more than half a minute.
        """
        deadline = time.monotonic() + _SETTLED_WITHIN_SECONDS
        lines = self._tell()[0]
        while settled and any(line["answer"] == UNDER_WAY for line in lines):
            if time.monotonic() > deadline:
                raise StoreDidNotStart("A request to the provider is still under way. `provider.log(settled=False)`.")
            time.sleep(_LOOK_AGAIN_SECONDS)
            lines = self._tell()[0]
        rows = [tuple(in_a_line(line[name]) for name in _COLUMNS) for line in lines]
        table = pd.DataFrame(rows, columns=list(_COLUMNS.values()), dtype=object)
        table.index = pd.RangeIndex(1, len(rows) + 1, name="request")
        return table

    def clear_log(self) -> None:
        """Empty the log. What was taken stays taken."""
        self._tell("log", [])

    @property
    def behaviour(self) -> str:
        """How the next request is met, in one of the words of `behave`."""
        return self._tell()[1].behaviour.value

    def is_open(self) -> bool:
        """Whether its process runs."""
        return not self._messages.closed and self._process.is_alive()

    def close(self) -> None:
        """End it. Its log is gone. Does no harm when done twice."""
        with interrupts_wait():
            atexit.unregister(self.close)
            if Provider._of_this_kernel is self:
                Provider._of_this_kernel = None
            if not self._messages.closed:
                self._process.kill()
                self._process.join()
                self._messages.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Provider(running)" if self.is_open() else "Provider(closed)"

    def _tell(self, name: str = "", value: object = None) -> tuple[Lines, Mood]:
        """Set something in the provider's process, if it has a name, and return its log and how it behaves."""
        with self._one_at_a_time, contextlib.suppress(EOFError, OSError), interrupts_wait():
            self._messages.send((name, value))
            lines, mood = self._messages.recv()
            return lines, mood
        raise StoreDidNotStart("The payment provider is closed. Run the cell that started it again.")
