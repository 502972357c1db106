"""What holds for every request and answer, whatever the endpoint: who may ask, how long it takes, who may frame it."""

import asyncio
import re
from ipaddress import IPv6Address
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The names of this machine that only this machine can use."""
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


def guarded(app: ASGIApp, *, hosts: frozenset[str] | None, within: float) -> ASGIApp:
    """An application behind everything in this module.

    Args:
        app: The application.
        hosts: The names under which it may be called; None for any, behind a proxy with a sign-in of its own.
        within: Seconds after which an answer that is still to come is given up.
    """
    frames = b"'none'" if hosts is not None else b"'self'"  # a Hub's page may show the storefront
    return BrowserRules(SameOriginOnly(PlainPaths(HeadAsGet(NeverSilent(app, within))), hosts), frames)


class BrowserRules:
    """Tells the browser, with every answer, what a page of the store may load, and who may show it.

    Without `frame-ancestors`, a page of another site could show the storefront, invisible, under a button of its own:
    the click that somebody means for that button would buy (clickjacking).

    Args:
        app: The application.
        frames: Who may show a page in a frame, as `frame-ancestors` has it.
    """

    def __init__(self, app: ASGIApp, frames: bytes) -> None:
        self._app = app
        policy = (
            b"default-src 'self'; img-src 'self' data:; base-uri 'none'; object-src 'none'; form-action 'self'; "
            b"frame-ancestors " + frames
        )
        self._headers = [
            (b"content-security-policy", policy),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and put the rules into the head of its answer."""

        async def send_with_rules(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_rules)


class SameOriginOnly:
    """Refuses what another web site may make a browser send: a foreign `Host`, or a POST from a foreign `Origin`.

    A page that is not ours can make a browser post to a program on the loopback interface, and can point a host name of
    its own at it (DNS rebinding). It can't choose the `Host` and `Origin` headers that the browser then sends.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else {_as_in_url(host) for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with 403."""
        if scope["type"] == "http" and (refusal := self._refusal(dict(scope["headers"]), scope["method"])):
            await JSONResponse({"detail": refusal}, status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: dict[bytes, bytes], method: str) -> str | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        if self._hosts is not None and _as_in_url(name) not in self._hosts:
            return f"This store does not answer to the host {name!r}."
        origin = headers.get(b"origin")
        if method not in {"GET", "HEAD"} and origin is not None:
            netloc = origin.decode("latin-1").lower().rpartition("://")[2]
            if netloc != host:
                return "This store refuses orders from other web sites."
        return None


class PlainPaths:
    """Refuses a path with a control character, as in `/checkout/a%0a`.

    The patterns of Starlette's routes end with `$`, and so let one line break pass at the end: the endpoint would be
    given the key `a`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with 422."""
        if scope["type"] == "http" and _CONTROL_CHARACTER.search(scope["path"]):
            answer = JSONResponse({"detail": "The address contains a control character."}, status_code=422)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


class HeadAsGet:
    """Answers HEAD as GET, wherever there is a GET; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class NeverSilent:
    """Answers 503 in the place of an endpoint that takes too long.

    DBOS repeats what fails on a lost connection for as long as it takes, and so would its caller wait.
    """

    def __init__(self, app: ASGIApp, within: float) -> None:
        self._app = app
        self._within = within

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and give it up when its time is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_answered = False

        async def note_and_send(message: Any) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            async with asyncio.timeout(self._within):
                await self._app(scope, receive, note_and_send)
        except TimeoutError:
            if is_answered:
                raise
            await ask_again()(scope, receive, send)


def ask_again() -> JSONResponse:
    """The answer when the database is away."""
    detail = "The database does not answer: try again."
    return JSONResponse({"detail": detail}, status_code=503, headers={"Retry-After": "1"})


def _as_in_url(host: str) -> str:
    """The one way in which a browser writes a host: in lower case, an IPv6 address short and in brackets."""
    host = host.lower()
    try:
        return f"[{IPv6Address(host.removeprefix('[').removesuffix(']').partition('%')[0])}]"
    except ValueError:
        return host
