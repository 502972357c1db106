"""What the judges of lesson 06 need: a store, and a payment provider that can be told to fail."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pandas as pd

from widget_store.course.checks import Wrong
from widget_store.databases import Database
from widget_store.databases.throwaway import open_databases
from widget_store.errors import StoreDidNotStart
from widget_store.lab.processes import lab_processes
from widget_store.lab.provider import Provider
from widget_store.lab.state import State, order_created_by
from widget_store.lab.store import PROVIDER_URL
from widget_store.lab.worker import Assignment, WorkerProcess
from widget_store.settings import read_settings

_PATIENCE_SECONDS = 20.0
_LOOK_AGAIN_SECONDS = 0.02
_NO_PAYMENT_ID = 409
_UNDER_WAY = {"PENDING", "ENQUEUED", "DELAYED"}


class Shop:
    """A provider, and one process of a store that nobody starts again, on a database of their own."""

    def __init__(self, file: Path, database: Database, provider: Provider) -> None:
        self.provider = provider
        self.state = State(database)
        self._assignment = Assignment(
            database,
            read_settings().model_copy(update={"dispatch_interval": 0.001, "webhook_secret": None}),
            app_file=file,
            environment={PROVIDER_URL: provider.url},
        )
        self._file = file
        self._worker: WorkerProcess | None = None

    def start(self) -> None:
        """Start the store.

        Raises:
            Wrong: When that is not possible.
        """
        self._worker = WorkerProcess(lab_processes(), self._assignment)
        try:
            self._worker.wait_until_ready()
        except StoreDidNotStart as failure:
            if self._worker.is_alive() or "can't be run" in str(failure):
                raise Wrong(f"A store with {self._file.as_posix()} can't start: {failure}") from None

    def kill(self) -> None:
        """End the store's process, as a crash does."""
        if self._worker is not None:
            self._worker.kill()

    def close(self) -> None:
        """End the store's process, and let go of the database."""
        self.kill()
        self.state.close()

    def buy(self, key: str) -> None:
        """Start a checkout. Whether it is answered does not matter: the store may die of it."""
        assert self._worker is not None  # noqa: S101 - it was started
        with (
            contextlib.suppress(httpx.TransportError),
            httpx.Client(trust_env=False, timeout=_PATIENCE_SECONDS) as http,
        ):
            answer = http.post(f"{self._worker.url}/checkout/{key}")
            if answer.status_code == _NO_PAYMENT_ID:  # the shelf is full, so it is not sold out
                raise Wrong(
                    f"{key.capitalize()} got no payment id. Keep DBOS.set_event(PAYMENT_ID, key), before the charge."
                )
            if not answer.is_success:
                raise Wrong(f"{key.capitalize()} could not buy: {answer.json().get('detail', answer.text)}")

    def dies_before_it_ends(self, key: str) -> bool:
        """Whether the process ends before the checkout does. Then another one is started."""
        assert self._worker is not None  # noqa: S101 - it was started
        worker = self._worker
        self.wait(lambda: not worker.is_alive() or self.has_ended(key))
        if worker.is_alive():
            return False
        self.kill()
        self.start()
        return True

    def has_ended(self, key: str) -> bool:
        """Whether a checkout has ended, well or not."""
        return self._status(key) not in _UNDER_WAY

    def was_asked(self, key: str, times: int) -> bool:
        """Whether the provider was asked so often, or will never be."""
        return len(self.requests(key, settled=False)) >= times or self.has_ended(key)

    def is_at_rest(self) -> bool:
        """Whether no workflow is under way, the checkouts' own and those that they have started."""
        return all(workflow.status not in _UNDER_WAY for workflow in self.state.all_workflows())

    def ending(self, key: str, within: float = _PATIENCE_SECONDS) -> str:
        """DBOS's status of a checkout that has ended.

        Raises:
            Wrong: When it does not end in time.
        """
        self.wait(lambda: self.has_ended(key), f"{key.capitalize()}'s checkout did not end", within)
        return self._status(key)

    def must_end(self, key: str, order: str, when: str) -> None:
        """Wait until a checkout ends, which must be well, with its order so, and its widget where it belongs.

        Raises:
            Wrong: When it is not so; `when` says what has happened.
        """
        ending = self.ending(key)
        if ending != "SUCCESS":
            raise Wrong(f"{when}, and the workflow ended as {ending}. The order is {self.order(key)}.")
        if self.order(key) != order:
            raise Wrong(f"{when}, and the order is {self.order(key)}. It should be {order}.{self._unasked(key)}")
        if missing := self.state.books()["missing"]:
            what = "is missing from the shelf" if missing > 0 else "is on the shelf that never was there"
            raise Wrong(f"{when}. The order is {order}, but a widget {what}.")

    def _unasked(self, key: str) -> str:
        if len(self.requests(key)):
            return ""
        return " The provider was never asked. `except Exception` also catches a mistake of your own: look for one."

    def order(self, key: str) -> str:
        """The status of a customer's order, in words."""
        number = order_created_by(self.state.steps_of(key))
        status = None if number is None else self.state.status_of(number)
        return "not there" if status is None else status.name

    def requests(self, key: str, *, settled: bool = True) -> pd.DataFrame:
        """What the provider's log has about a customer; with `settled`, once no request is under way."""
        log = self.provider.log(settled=settled)
        return log[log["order"] == key]

    def wait(
        self, is_so: Callable[[], bool], otherwise: str = "Nothing more happened", within: float = _PATIENCE_SECONDS
    ) -> None:
        """Wait until something is so.

        Raises:
            Wrong: When it takes too long; the message begins with `otherwise`.
        """
        deadline = time.monotonic() + within
        while not is_so():
            if time.monotonic() > deadline:
                raise Wrong(f"{otherwise} within {within:.0f} s.")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _status(self, key: str) -> str:
        found = self.state.client.list_workflows(workflow_ids=[key], load_input=False, load_output=False)
        return found[0].status if found else "PENDING"


@contextlib.contextmanager
def shop_with(file: Path) -> Iterator[Shop]:
    """A started store with a learner's file, and a provider that is well.

    Raises:
        Wrong: When the store can't be started.
    """
    with (
        Provider() as provider,
        open_databases(read_settings()) as databases,
        databases.template() as database,
        contextlib.closing(Shop(file, database, provider)) as started,
    ):
        started.start()
        yield started
