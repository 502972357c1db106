"""The process of the payment provider: another company's service, with a log of its own that no store can change."""

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from multiprocessing.connection import Connection
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import uvicorn
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from widget_store.middleware import LOOPBACK, guarded
from widget_store.serving.ports import listen
from widget_store.system.processes import be_silent, end_with_parent, stand_apart

_GIVE_UP_SECONDS = 600.0
_REPORT_WITHIN_SECONDS = 30.0
_LONGEST_SHOWN = 100
NOBODY = "none"
"""In the log, the answer that reached nobody."""
UNDER_WAY = "…"
"""In the log, the answer that is still to come."""

Lines = list[dict[str, Any]]
"""The log as it is sent to the lab."""


class Behaviour(Enum):
    """How the provider meets a request. Its value is the word for it."""

    WELL = "well"
    SLOW = "slow"
    DOWN = "down"
    REFUSE = "refuse"
    ANSWER_TWICE = "answer twice"
    LOSE_THE_ANSWER = "lose the answer"


@dataclass(frozen=True)
class Mood:
    """A behaviour, and for how long it lasts.

    Attributes:
        behaviour: How requests are met.
        times: For how many requests; then all is well again. None for good.
        seconds: How long a slow answer takes.
        only: The kind of request that is met so, "charge" or "refund"; None for all.
    """

    behaviour: Behaviour = Behaviour.WELL
    times: int | None = None
    seconds: float = 2.0
    only: str | None = None


@dataclass
class Entry:
    """A line of the provider's log.

    Attributes:
        what: "charge" or "refund", which the store asks for, or "report", which the provider makes to the store.
        order: Whom it concerns, in the store's words.
        key: The idempotency key of the request; empty when it has none.
        money: What it did: "taken", "given back", or nothing.
        answer: The HTTP status of the answer, "none" when it was lost, and "…" until then.
    """

    what: str
    order: str
    key: str = ""
    money: str = ""
    answer: str = UNDER_WAY


class Asked(BaseModel):
    """The body of a request: which order of the store it concerns."""

    order: str


@dataclass
class Provider:
    """What the provider knows: it lives in this process, and no crash of the store reaches it."""

    mood: Mood = field(default_factory=Mood)
    webhook: str = ""
    log: list[Entry] = field(default_factory=list)
    _taken: dict[str, int] = field(default_factory=dict)
    _voided: set[str] = field(default_factory=set)
    _answered: dict[str, tuple[int, dict[str, object]]] = field(default_factory=dict)

    def meet(self, what: str) -> Mood:
        """How this request is met; what lasts for some requests only has one less."""
        mood = self.mood
        if mood.only not in {None, what}:
            return Mood()
        if mood.times is not None:
            self.mood = replace(mood, times=mood.times - 1) if mood.times > 1 else Mood()
        return mood

    def charge(self, entry: Entry) -> tuple[int, dict[str, object]]:
        """Take the money for an order, unless it was done under this key before, and say so."""
        if entry.key in self._answered:
            return self._answered[entry.key]
        if entry.order in self._voided:
            return 409, {"detail": f"{entry.order}: nothing is taken after a refund."}
        self._taken[entry.order] = self._taken.get(entry.order, 0) + 1
        entry.money = "taken"
        return self._once(entry.key, {"order": entry.order, "charges": self._taken[entry.order]})

    def refund(self, entry: Entry) -> tuple[int, dict[str, object]]:
        """Give back whatever was taken for an order, and take nothing for it any more."""
        self._voided.add(entry.order)
        if times := self._taken.pop(entry.order, 0):
            entry.money = "given back" if times == 1 else f"given back, {times} times"
        return 200, {"order": entry.order, "given_back": times}

    def _once(self, key: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        if key:
            self._answered[key] = (200, body)
        return 200, body


def create_app(provider: Provider) -> FastAPI:
    """The provider's HTTP interface: `POST /charges` and `POST /refunds`, each with the body `{"order": …}`."""
    app = FastAPI(title="Payment provider", docs_url=None, redoc_url=None)
    reports: set[asyncio.Task[None]] = set()

    @app.post("/charges")
    async def charges(asked: Asked, request: Request, idempotency_key: Annotated[str, Header()] = "") -> Response:
        return await answer("charge", provider.charge, asked, request, idempotency_key)

    @app.post("/refunds")
    async def refunds(asked: Asked, request: Request, idempotency_key: Annotated[str, Header()] = "") -> Response:
        return await answer("refund", provider.refund, asked, request, idempotency_key)

    async def answer(
        what: str, act: Callable[[Entry], tuple[int, dict[str, object]]], asked: Asked, request: Request, key: str
    ) -> Response:
        entry = Entry(what, asked.order[:_LONGEST_SHOWN], key[:_LONGEST_SHOWN])
        provider.log.append(entry)
        mood = provider.meet(what)
        status, body = _unless_refused(mood.behaviour) or act(entry)
        if mood.behaviour is Behaviour.SLOW:
            await asyncio.sleep(mood.seconds)
        if mood.behaviour is Behaviour.LOSE_THE_ANSWER or await request.is_disconnected():
            request.state.line.abort()
            entry.answer = NOBODY
        else:
            entry.answer = str(status)
        if mood.behaviour is Behaviour.ANSWER_TWICE and provider.webhook:
            for _ in range(2):
                provider.log.append(line := Entry("report", entry.order))
                reports.add(report := asyncio.create_task(_report(provider.webhook, line)))
                report.add_done_callback(reports.discard)
        return JSONResponse(body, status)

    return app


def _unless_refused(behaviour: Behaviour) -> tuple[int, dict[str, object]] | None:
    if behaviour is Behaviour.DOWN:
        return 503, {"detail": "The provider is down. Try again later."}
    if behaviour is Behaviour.REFUSE:
        return 402, {"detail": "The bank refuses this card."}
    return None


async def _report(webhook: str, entry: Entry) -> None:
    """Report a payment to the store's webhook, as providers do beside their answer."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=_REPORT_WITHIN_SECONDS) as http:
            answered = await http.post(f"{webhook}/payment_webhook/{quote(entry.order, safe='')}/paid")
        entry.answer = str(answered.status_code)
    except httpx.HTTPError:
        entry.answer = NOBODY


class _Line(H11Protocol):
    """A connection that an endpoint can cut: it is in the state of its request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.app_state = {**self.app_state, "line": transport}


def work(lab: Connection) -> None:
    """The whole life of the process. It tells the lab its port, then does what the lab says, until the lab is gone."""
    stand_apart()
    end_with_parent()
    be_silent()
    provider = Provider()
    with listen("127.0.0.1", 0) as listener:
        app = guarded(create_app(provider), hosts=LOOPBACK, within=_GIVE_UP_SECONDS)
        config = uvicorn.Config(app, http=_Line, log_config=None, access_log=False, lifespan="off")
        threading.Thread(target=_obey, args=(provider, lab), daemon=True).start()
        lab.send(listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])
    os._exit(0)


def _obey(provider: Provider, lab: Connection) -> None:
    """Do what the lab says: a pair of a name and a value. It is answered with the log, and how requests are met."""
    try:
        while True:
            name, value = lab.recv()
            if name:
                setattr(provider, name, value)
            lab.send(([asdict(entry) for entry in provider.log], provider.mood))
    except (EOFError, OSError):
        os._exit(0)
