"""The exercises of notebook 09: two versions of a file on one database, and a clock that is read again."""

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
from dbos import WorkflowStatus

from widget_store.course.checks import SOLUTIONS, Wrong, on_answer, on_file
from widget_store.course.judging import must_be_equal
from widget_store.databases import Database
from widget_store.databases.throwaway import open_databases
from widget_store.lab.processes import lab_processes
from widget_store.lab.state import State
from widget_store.plain_text import failure_in_words, plain
from widget_store.serving.recovery import APPLICATION_VERSION, UNPINNED
from widget_store.settings import Settings, read_settings
from widget_store.system.processes import be_silent, end_with_parent, stand_apart, start

_PATIENCE_SECONDS = 20.0
_LOOK_AGAIN_SECONDS = 0.02
_UNDER_WAY = {"PENDING", "ENQUEUED"}

OLD_FILE = SOLUTIONS / "start" / "put_a_step_in_between.py"
_NEW_STEP, _FIRST_STEP = "look_up_customer", "create_order"

_THANKS = "thank_for_quick_payment"
_QUICK_SECONDS, _LONGER_SECONDS = 1.0, 1.1

_CHANGES: dict[str, tuple[str, str]] = {
    "a comment inside checkout_workflow": (
        "    order_id = create_order()",
        "    # One.\n    order_id = create_order()",
    ),
    "a comment above checkout_workflow": ("@DBOS.workflow", "# The checkout.\n@DBOS.workflow"),
    "another result of look_up_customer": ("is known", "is well known"),
    "a step put in between": (
        "    order_id = create_order()",
        "    look_up_customer(key)\n    order_id = create_order()",
    ),
    "another workflow in the file": ("@DBOS.step", "@DBOS.workflow()\ndef audit() -> None:\n    pass\n\n\n@DBOS.step"),
}
"""For each change of the old file, a text in it and what takes its place."""


@on_answer(
    "09",
    asks="predict which changes of a file leave waiting orders stranded",
    hint="DBOS hashes the source of all registered workflows, each from its decorator to its last line. The functions "
    "that they call are not in the hash.",
)
def which_changes_strand(answer: Any) -> str:
    """Anna buys; then each changed file is launched, unpinned, and its version compared with that of her order."""
    with _empty_database() as database, tempfile.TemporaryDirectory() as folder, _looking_at(database) as state:
        with _serving(database, OLD_FILE, UNPINNED) as store:
            store.buy("anna")
            hers = _workflow(state, "anna").app_version

        def is_stranded_by(number: int) -> bool:
            old, new = list(_CHANGES.values())[number]
            changed = Path(folder) / f"changed_{number}.py"
            changed.write_text(OLD_FILE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
            with _serving(database, changed, UNPINNED, executor_id=f"worker-{number + 2}") as store:
                return store.version != hers

        with ThreadPoolExecutor(2) as both:
            stranded = list(both.map(is_stranded_by, range(len(_CHANGES))))
    truth = dict(zip(_CHANGES, stranded, strict=True))
    must_be_equal(answer, truth)
    return (
        "Correct. The version is a hash of the source of all workflows, with their comments. The source of a step is "
        "not in it."
    )


@on_file(
    "09",
    asks="put a new step first, so that orders under way still end well",
    hint="Orders that began with the old file have create_order as step 1. Call DBOS.patch(…) at the place of the new "
    "step. For an order without a checkpoint there, it returns True and leaves one.",
)
def put_a_step_in_between(file: Path) -> str:
    """Two customers buy with the old file and two with the learner's; the store dies once more, and all pay.

    Nobody can know their keys: what is to be done depends on the file that an order was begun with, and on no key.
    """
    old, new = _keys("Anna", "Carl"), _keys("Bert", "Dora")
    with _empty_database() as database, _looking_at(database) as state:
        with _serving(database, OLD_FILE) as store:
            for who, key in old.items():
                store.buy(key, who)
        old_steps = {key: _steps(state, key) for key in old.values()}
        with _serving(database, file) as store:
            for who, key in new.items():
                store.buy(key, who)
        _must_have_the_recorded_name(state, old["Anna"], new["Bert"])
        with _serving(database, file) as store:
            for keys, begun_with in ((old, "the old file"), (new, "your file")):
                for who, key in keys.items():
                    store.pay(key)
                    _must_end_well(state, key, f"{who}'s order began with {begun_with}")
        for who, key in old.items():
            steps = _steps(state, key)
            if steps[: len(old_steps[key])] != old_steps[key] or _NEW_STEP in steps:
                raise Wrong(f"{who}'s order began with the old file, but ran {_NEW_STEP} in yours.")
        for who, key in new.items():
            _must_take_the_new_step_first(who, _steps(state, key))
    return (
        f"The orders of Anna and Carl went on without {_NEW_STEP}. Those of Bert and Dora ran it first. All are paid, "
        "and their checkpoints fit your file."
    )


def _keys(one: str, other: str) -> dict[str, str]:
    """Keys that nobody can know, one from each end of the alphabet."""
    return {one: f"0{secrets.token_hex(8)}", other: f"f{secrets.token_hex(8)}"}


def _must_have_the_recorded_name(state: State, hers: str, his: str) -> None:
    recorded, served = _workflow(state, hers).name, _workflow(state, his).name
    if served != recorded:
        raise Wrong(
            f"Anna's order was recorded as a workflow named {recorded!r}, but the checkout in your file is named "
            f"{served!r}. No checkout has the recorded name, so nobody goes on with her order. Keep name={recorded!r}."
        )


def _must_take_the_new_step_first(who: str, steps: list[str]) -> None:
    if _NEW_STEP not in steps:
        raise Wrong(f"{who}'s order began with your file, but has no checkpoint of {_NEW_STEP}.")
    if steps.index(_NEW_STEP) > steps.index(_FIRST_STEP):
        raise Wrong(f"In {who}'s order, {_NEW_STEP} comes after {_FIRST_STEP}. It must come before it.")
    if (times := steps.count(_NEW_STEP)) > 1:
        raise Wrong(f"{who}'s order has {times} checkpoints of {_NEW_STEP}. Call it once.")


@on_file(
    "09",
    asks="read the clock so that a recovered workflow gets the same time",
    hint="A step's result is recorded: a time that a step returns is the same after recovery. The file reads the clock "
    "twice.",
)
def clock_outside(file: Path) -> str:
    """One customer pays late, another at once. The store dies after each decision, once for longer than a second."""
    with _empty_database() as database, _looking_at(database) as state:
        with _serving(database, file) as store:
            store.buy("slow")
            time.sleep(_LONGER_SECONDS)
            store.crash(at="*/*.mark_order_paid/checkpoint/after")
            store.pay("slow")
        with _serving(database, file) as store:
            _must_end_well(state, "slow", "A customer paid late, and the store died after mark_order_paid")
            if _THANKS in _steps(state, "slow"):
                raise Wrong(f"A customer waited for more than {_QUICK_SECONDS:g} s before paying, but was thanked.")
            store.crash(at=f"*/*.{_THANKS}/checkpoint/after")
            quick = _quick_customer(store)
        time.sleep(_LONGER_SECONDS)
        with _serving(database, file):
            _must_end_well(state, quick, "A customer paid at once, and the store died after it had said thanks")
    return (
        "The customer who paid at once was thanked, the one who paid late was not. After each crash, the workflow "
        "decided as before."
    )


def _quick_customer(store: "_Serving") -> str:
    """Buy and pay at once, and be thanked, at which the store dies; return the customer's name.

    Raises:
        Wrong: When a customer who was quick was not thanked.
    """
    give_up = time.monotonic() + _PATIENCE_SECONDS
    for number in count():
        name, started = f"quick-{number}", time.monotonic()
        store.buy(name)
        if not store.pay(name):
            return name
        now = time.monotonic()
        if now - started < _QUICK_SECONDS or now > give_up:  # else the machine is busy: that customer was slow
            break
    raise Wrong(f"A customer paid at once, but {_THANKS} was not called, or did not finish.")


# --- a store on a database, and what it leaves there


@dataclass
class _Serving:
    """A store's process: it is killed at the end of the block in which it serves."""

    url: str
    version: str

    def buy(self, key: str, who: str = "") -> None:
        """Buy.

        Args:
            key: The customer's key.
            who: The customer's name, where the key is not the name.

        Raises:
            Wrong: When that is refused.
        """
        answer = self._post(f"checkout/{key}")
        if answer is None or not answer.is_success:
            reason = "the store died" if answer is None else answer.text
            raise Wrong(f"{who or key.capitalize()} could not buy: {reason}")

    def pay(self, key: str) -> bool:
        """Report a payment; return whether there was an answer. What came of it is in the database."""
        return self._post(f"payment_webhook/{key}/paid") is not None

    def crash(self, at: str) -> None:
        """Let the store die when a workflow next comes to a crash point."""
        self._post(f"crash_application?at={at}")

    def _post(self, path: str) -> httpx.Response | None:
        """The answer; None when the store has died of the question."""
        try:
            with httpx.Client(trust_env=False, verify=False, timeout=_PATIENCE_SECONDS) as http:  # noqa: S501 - plain HTTP
                return http.post(f"{self.url}/{path}")
        except httpx.TransportError:
            return None


@contextlib.contextmanager
def _empty_database() -> Iterator[Database]:
    with open_databases(read_settings()) as databases, databases.template() as database:
        yield database


@contextlib.contextmanager
def _looking_at(database: Database) -> Iterator[State]:
    state = State(database)
    try:
        yield state
    finally:
        state.close()


@contextlib.contextmanager
def _serving(
    database: Database, file: Path, version: str = APPLICATION_VERSION, executor_id: str = "worker-1"
) -> Iterator[_Serving]:
    """A store with a file of workflows.

    Raises:
        Wrong: When it can't be started.
    """
    processes = lab_processes()
    messages, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=_serve, args=(executor_id, database, file, version, theirs))
    start(process)
    theirs.close()
    try:
        if not messages.poll(_PATIENCE_SECONDS):
            raise Wrong(f"A store with {file} did not start within {_PATIENCE_SECONDS:g} s.")
        try:
            url, words = messages.recv()
        except EOFError:
            url, words = "", "its process died."
        if not url:
            raise Wrong(f"A store with {file} can't start: {words}")
        health = httpx.get(f"{url}/healthz", timeout=_PATIENCE_SECONDS, trust_env=False).json()
        yield _Serving(url, health["application_version"])
    finally:
        process.kill()
        process.join()
        process.close()
        messages.close()


def _serve(executor_id: str, database: Database, file: Path, version: str, to_judge: Connection) -> None:
    """The whole life of a store's process: it tells its URL, or none and why it can't serve."""
    stand_apart()
    end_with_parent()
    be_silent()
    from widget_store.crashtest.points import CrashPoints
    from widget_store.serving.server import Worker, serve

    settings = Settings.model_construct(payment_timeout=3600.0, dispatch_interval=0.001)
    worker = Worker(executor_id, database, settings, port=0, app_file=file, application_version=version)

    try:
        serve(worker, on_ready=lambda port: to_judge.send((f"http://127.0.0.1:{port}", "")), crash_points=CrashPoints())
    except Exception as failure:  # noqa: BLE001 - whatever it was, the learner is told
        to_judge.send(("", plain(failure)))
    os._exit(1)


def _workflow(state: State, key: str) -> WorkflowStatus:
    (workflow,) = state.client.list_workflows(workflow_ids=[key])
    return workflow


def _steps(state: State, key: str) -> list[str]:
    return [step.name for step in state.steps_of(key)]


def _must_end_well(state: State, key: str, who: str) -> None:
    """Wait for the end of a checkout.

    Raises:
        Wrong: When it has not ended as a success.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (workflow := _workflow(state, key)).status in _UNDER_WAY:
        if time.monotonic() > deadline:
            raise Wrong(f"{who}; it is still {workflow.status} after {_PATIENCE_SECONDS:g} s.")
        time.sleep(_LOOK_AGAIN_SECONDS)
    if workflow.status != "SUCCESS":
        raise Wrong(f"{who}; its workflow ended as {workflow.status}.\n{failure_in_words(workflow.error)}")
