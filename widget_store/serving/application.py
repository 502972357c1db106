"""What a store serves: its own checkout, or the one in a learner's file."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter

from widget_store import dbos_internals, workflows
from widget_store.errors import AppFileError
from widget_store.system.python_file import load_python_file

Invariant = Callable[[sa.Connection], Iterable[str]]
"""An author's own invariant for the crash test: it looks at the database, and returns a sentence for each violation."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Application:
    """A checkout, and what may come with it.

    Attributes:
        checkout_workflow: Called with the customer's key.
        router: Endpoints that take the place of the store's own.
        invariants: The author's invariants for the crash test, beside those of every store.
        on_launch: Called in each worker once DBOS is launched: the place to register queues.
    """

    checkout_workflow: Callable[[str], Any]
    router: APIRouter | None = None
    invariants: tuple[Invariant, ...] = ()
    on_launch: Callable[[], object] = _nothing


_SELLING = ("/checkout/", "/payment_webhook/", "/restock")


def load_application(file: Path | None, *, must_sell: bool = False) -> Application:
    """The application in a Python file, or the store's own for None.

    The file defines `checkout_workflow(key)`, or a `router` (a `fastapi.APIRouter`) whose endpoints sell without one,
    or both. It may define `INVARIANTS`, a list of functions, and `on_launch()`.

    Args:
        file: The file.
        must_sell: Refuse a file that takes no part in a purchase: the store's own checkout would be tested in its name.

    Raises:
        AppFileError: When the file can't be run, or what it defines can't be used.
    """
    if file is None:
        return Application(workflows.checkout_workflow)
    with _own_workflows_step_aside():
        module = load_python_file(file)
    router = getattr(module, "router", None)
    without_any = None if router is None else workflows.checkout_workflow  # a router may sell without a workflow
    checkout_workflow = getattr(module, "checkout_workflow", without_any)
    invariants = tuple(getattr(module, "INVARIANTS", ()))
    if not callable(checkout_workflow):
        raise AppFileError(f"{file} defines no checkout_workflow(key). Define one, decorated with @DBOS.workflow().")
    if must_sell and not _sells(module):
        raise AppFileError(
            f"{file} takes no part in a purchase, so a crash test of it would test the store's own checkout. Define "
            "checkout_workflow(key) in it; or write a Workload for it, and name that: widget-store crash-test "
            "FILE::WORKLOAD."
        )
    if router is not None and not isinstance(router, APIRouter):
        raise AppFileError(
            f"{file} defines a router that is not a fastapi.APIRouter. Make it with fastapi.APIRouter()."
        )
    if not all(callable(invariant) for invariant in invariants):
        raise AppFileError(f"{file}: INVARIANTS is not a list of functions that take a database connection.")
    return Application(checkout_workflow, router, invariants, getattr(module, "on_launch", _nothing))


def _sells(module: ModuleType) -> bool:
    """Whether a purchase comes by what the file defines: a workflow of the store's, or one of its endpoints."""
    if hasattr(module, "checkout_workflow") or hasattr(module, "dispatch_order_workflow"):
        return True
    routes = getattr(getattr(module, "router", None), "routes", ())
    return any(str(getattr(route, "path", "")).startswith(_SELLING) for route in routes)


@contextlib.contextmanager
def _own_workflows_step_aside() -> Iterator[None]:
    """Let a learner's file define workflows by the names of the store's own, which DBOS would take for a mistake.

    The names stay the same, so an order that is under way goes on in the learner's version, and the other way round.
    """
    registered = dbos_internals.registered_workflows()
    own = {name: registered.pop(name) for name in ("checkout_workflow", "dispatch_order_workflow")}
    try:
        yield
    finally:
        for name, workflow in own.items():
            registered.setdefault(name, workflow)
