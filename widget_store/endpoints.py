"""The HTTP interface. Each endpoint translates: it asks a workflow or the database, and gives the answer a status."""

import asyncio
import contextlib
import hashlib
import hmac
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
from dbos import DBOS, SetWorkflowID
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BeforeValidator
from starlette.types import ASGIApp

from widget_store.middleware import LOOPBACK, ask_again, guarded
from widget_store.plain_text import failure_in_words
from widget_store.schema import PRODUCT_ID, OrderStatus, orders, products
from widget_store.system.processes import die
from widget_store.transactions import restock
from widget_store.workflows import ORDER_ID, PAYMENT_ID, PAYMENT_STATUS

if TYPE_CHECKING:
    from widget_store.crashtest.points import CrashPoints

STOREFRONT = FilePath(__file__).parent / "storefront"
ANSWER_WITHIN_SECONDS = 60.0
"""How long a checkout or a payment waits for its workflow before it answers 504."""
_LOOK_AGAIN_SECONDS = 1.0
_PAUSE_SECONDS = 0.01
_SERVED_AT_ONCE = 2
_IN_LINE_SECONDS = 1.0
_GIVE_UP_AFTER_SECONDS = 2.0
"""How much longer a request may take that waits for something else: for a database that does not answer."""
_DATABASE_IS_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)
"""What SQLAlchemy raises when the database can't do its work now, whatever it is asked to do."""

Key = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="1 to 64 letters, digits, '-' or '_'")]
CheckoutWorkflow = Callable[[str], Any]


def _in_digits(number: object) -> object:
    """A number as people write it. Python would also read `1_0` and `+1`: two addresses of one order."""
    if isinstance(number, str) and re.fullmatch("0|[1-9][0-9]*", number) is None:
        raise ValueError("write it in the digits 0 to 9")
    return number


InDigits = BeforeValidator(_in_digits)


class CheckoutFailed(Exception):
    """The workflow has ended, with an error or without a word: no event will ever come."""


def create_app(  # noqa: C901, PLR0913, PLR0915 - one small function for each row of the interface, and what they need
    checkout_workflow: CheckoutWorkflow,
    engine: sa.Engine,
    *,
    executor_id: str,
    router: APIRouter | None = None,
    webhook_secret: str | None = None,
    crash_points: "CrashPoints | None" = None,
    crash_token: str | None = None,
    hosts: frozenset[str] | None = LOOPBACK,
    answer_within: float = ANSWER_WITHIN_SECONDS,
) -> ASGIApp:
    """The store's HTTP interface around a checkout workflow of a launched DBOS.

    Args:
        checkout_workflow: Called with the customer's key, which becomes the workflow's id.
        engine: For reading products and orders.
        executor_id: What `GET /healthz` says of this worker.
        router: Endpoints that take the place of those here that have the same path.
        webhook_secret: When given, payments must be signed with it.
        crash_points: When given, `POST /crash_application` exists, and can arm one of these.
        crash_token: When given, only who sends it with that call is heard.
        hosts: The names under which the store may be called; None for any, behind a proxy with a sign-in of its own.
        answer_within: Seconds to wait for a workflow before the answer is 504.
    """
    app = FastAPI(title="Widget store", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.mount("/static", StaticFiles(directory=STOREFRONT), name="static")
    if router is not None:
        app.include_router(router)  # the first endpoint that fits a request answers it
    answers, line = _Answers(answer_within), Line(_SERVED_AT_ONCE, _IN_LINE_SECONDS)

    @app.exception_handler(CheckoutFailed)
    async def checkout_failed(_request: Request, failure: CheckoutFailed) -> JSONResponse:
        return JSONResponse({"detail": f"The checkout failed: {failure}"}, status_code=500)

    async def database_is_away(_request: Request, _failure: Exception) -> JSONResponse:
        return ask_again()

    for failure in _DATABASE_IS_AWAY:
        app.add_exception_handler(failure, database_is_away)

    @app.get("/", include_in_schema=False)
    async def storefront() -> FileResponse:
        return FileResponse(STOREFRONT / "index.html")

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        return {
            "status": "ok",
            "pid": os.getpid(),
            "executor_id": executor_id,
            "application_version": DBOS.application_version,
            "crash_endpoint": crash_points is not None,
        }

    @app.get("/product")
    def product() -> dict[str, object]:
        with engine.connect() as connection:
            row = connection.execute(sa.select(products).where(products.c.product_id == PRODUCT_ID)).one()
        return {
            "product_id": row.product_id,
            "product": row.product,
            "description": row.description,
            "inventory": row.inventory,
            "price": float(row.price),
        }

    @app.post("/checkout/{key:path}", response_class=PlainTextResponse)
    async def checkout(key: Key) -> str:
        """Buy a widget. The key is the workflow's id, so asking again joins the checkout that is there already."""
        deadline = answers.deadline()
        async with line.turn():
            await asyncio.to_thread(_start, checkout_workflow, key)
            payment_id = await answers.event(key, PAYMENT_ID, deadline)
        if payment_id is not None:
            return str(payment_id)
        # No payment id: either the checkout ended without one, and then it has an order id, or it isn't that far yet.
        if await answers.event(key, ORDER_ID, deadline) is not None:
            raise HTTPException(409, "Out of stock: nothing was ordered.")
        raise HTTPException(504, "The checkout is slow. Ask again with the same key.")

    @app.post(
        "/payment_webhook/{payment_id}/{status}",
        response_class=PlainTextResponse,
        dependencies=[Depends(signed_with(webhook_secret))],
    )
    async def payment_webhook(
        payment_id: Key, status: Annotated[str, Path(pattern="^(paid|failed)$", description="paid or failed")]
    ) -> str:
        """Report a payment. Reporting it again gives the same answer, and settling it the other way is refused."""
        workflow = await DBOS.get_workflow_status_async(payment_id)
        if workflow is None or workflow.name != workflow_name:
            raise HTTPException(404, "There is no payment with this id.")
        # A checkout that has settled already reads no more messages, so a late or repeated one changes nothing.
        once, deadline = f"{payment_id}:{status}", answers.deadline()
        async with line.turn():
            await asyncio.to_thread(DBOS.send, payment_id, status, PAYMENT_STATUS, idempotency_key=once)
            order_id = await answers.event(payment_id, ORDER_ID, deadline)
        if order_id is None:
            raise HTTPException(504, "The checkout is slow. Report the payment again.")
        outcome = await asyncio.to_thread(_order, engine, int(order_id))
        was_paid = outcome["order_status"] in {OrderStatus.PAID, OrderStatus.DISPATCHED}
        if was_paid != (status == "paid"):
            settled = "is paid already" if was_paid else "was cancelled, and the payment is refused"
            raise HTTPException(409, f"Order {order_id} {settled}.")
        return str(order_id)

    workflow_name: str = getattr(checkout_workflow, "dbos_function_name", "checkout_workflow")

    @app.get("/order/{order_id}")
    def order(order_id: Annotated[int, InDigits, Path(ge=1, le=2**31 - 1)]) -> dict[str, object]:
        return _order(engine, order_id)

    @app.get("/orders")
    def list_orders(
        limit: Annotated[int, InDigits, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, InDigits, Query(ge=1, le=2**31 - 1)] = None,
    ) -> list[dict[str, object]]:
        newest_first = sa.select(orders).order_by(orders.c.order_id.desc()).limit(limit)
        if before is not None:
            newest_first = newest_first.where(orders.c.order_id < before)
        with engine.connect() as connection:
            return [_as_json(row) for row in connection.execute(newest_first)]

    @app.post("/restock")
    async def fill_shelf() -> dict[str, int]:
        return {"added": await asyncio.to_thread(restock)}

    if crash_points is not None:

        @app.exception_handler(Exception)
        async def mistake(_request: Request, failure: Exception) -> JSONResponse:
            """In a lesson the mistake is the learner's, and theirs to read; elsewhere it is nobody's business."""
            return JSONResponse({"detail": failure_in_words(failure)}, status_code=500)

        @app.post("/crash_application", status_code=202, dependencies=[Depends(knows(crash_token))])
        async def crash_application(at: str | None = None) -> dict[str, str]:
            """Die without answering; with `?at=POINT`, answer, and die when a workflow next gets there."""
            if at is None:
                die()
            try:
                crash_points.arm(str(at))
            except ValueError as unknown:
                raise HTTPException(422, str(unknown)) from None
            return {"armed": str(at)}

    return guarded(app, hosts=hosts, within=answer_within + _GIVE_UP_AFTER_SECONDS)


class _Answers:
    """Waits for what workflows publish, and notices when one has failed and will publish nothing."""

    def __init__(self, within: float) -> None:
        self._within = within

    def deadline(self) -> float:
        return time.monotonic() + self._within

    async def event(self, workflow_id: str, name: str, deadline: float) -> Any:
        """The value of an event; None when it is None, and when the deadline passed without it.

        Raises:
            CheckoutFailed: When the workflow has ended without it, or without an order id.
        """
        while True:
            left = deadline - time.monotonic()
            look_for = max(0, min(left, _LOOK_AGAIN_SECONDS))
            value = await DBOS.get_event_async(workflow_id, name, timeout_seconds=look_for)
            if value is not None or left <= 0:
                return value
            workflow = await DBOS.get_workflow_status_async(workflow_id)
            if workflow is not None and workflow.status not in {"PENDING", "ENQUEUED", "DELAYED", "SUCCESS"}:
                raise CheckoutFailed(failure_in_words(workflow.error) if workflow.error else workflow.status)
            # The order id is the last thing a checkout publishes. It may have ended since we looked for the event.
            if await DBOS.get_event_async(workflow_id, ORDER_ID, timeout_seconds=0) is not None:
                return await DBOS.get_event_async(workflow_id, name, timeout_seconds=0)
            if workflow is None:
                return None
            if workflow.status == "SUCCESS":
                return await _event_of_what_has_ended(workflow_id, name)
            if left > look_for:
                await asyncio.sleep(_PAUSE_SECONDS)  # an event that is None is there at once, each time it is asked for


async def _event_of_what_has_ended(workflow_id: str, name: str) -> Any:
    """DBOS answers None for an event that is None and for one that is not there: all events together tell which."""
    published = await DBOS.get_all_events_async(workflow_id)
    if name not in published:
        raise CheckoutFailed(f"it has ended, and never published the event {name!r}.")
    if name == ORDER_ID and published[name] is None:
        raise CheckoutFailed(f"it has ended, and published None as the event {name!r}.")
    return published[name]


class Line:
    """Customers in a line: who came first is not kept waiting by those who came later.

    Served all at once, each would wait for all, and the unlucky twice as long as the lucky.

    Args:
        places: How many are served at once.
        patience: Seconds that anybody stands in line. A checkout may be slow on purpose, and must not stop the others.
    """

    def __init__(self, places: int, patience: float) -> None:
        self._places = asyncio.Semaphore(places)
        self._patience = patience

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn, and have it for as long as the block takes."""
        async with contextlib.AsyncExitStack() as place:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._places.acquire()
                    place.callback(self._places.release)
            yield


def _start(checkout_workflow: CheckoutWorkflow, key: str) -> None:
    with SetWorkflowID(key):
        DBOS.start_workflow(checkout_workflow, key)


def signature_of(secret: str, payment_id: str, status: str) -> str:
    """Return the signature of a payment report, for the header `X-Widget-Signature`.

    It is the HMAC-SHA256 of `PAYMENT_ID/STATUS`, in hex, made with the secret that the payment provider and the store
    share.
    """
    return hmac.new(secret.encode(), f"{payment_id}/{status}".encode(), hashlib.sha256).hexdigest()


def signed_with(secret: str | None) -> Callable[..., None]:
    """The check of a webhook's signature; without a secret, everything passes."""

    def check(payment_id: str, status: str, x_widget_signature: Annotated[str, Header()] = "") -> None:
        if secret is None:
            return
        expected = signature_of(secret, payment_id, status)
        if not hmac.compare_digest(expected.encode(), x_widget_signature.encode()):
            raise HTTPException(401, "The payment is not signed, or not with this store's secret.")

    return check


def knows(token: str | None) -> Callable[..., None]:
    """The check of who may crash the store: on a machine that several people use, its port is open to all of them."""

    def check(x_crash_token: Annotated[str, Header()] = "") -> None:
        if token is not None and not hmac.compare_digest(token.encode(), x_crash_token.encode()):
            raise HTTPException(
                403, "This store crashes only for who knows its token. Open this page with the link in the notebook."
            )

    return check


def _order(engine: sa.Engine, order_id: int) -> dict[str, Any]:
    with engine.connect() as connection:
        row = connection.execute(sa.select(orders).where(orders.c.order_id == order_id)).one_or_none()
    if row is None:
        raise HTTPException(404, f"There is no order {order_id}.")
    return _as_json(row)


def _as_json(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "order_id": row.order_id,
        "order_status": row.order_status,
        "last_update_time": row.last_update_time.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z"),
        "product_id": row.product_id,
        "progress_remaining": row.progress_remaining,
    }
