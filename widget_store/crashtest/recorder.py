"""The service outside of the database: it answers over HTTP, and remembers each call, whatever is killed meanwhile.

It runs beside the test, in no process that is killed, so its memory is what really happened.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from widget_store.plain_text import failure_in_words

KEY = "Idempotency-Key"
"""The header by which a call is known again."""
_LARGEST_BODY = 1_000_000
_MAY_PASS = 500


@dataclass(frozen=True)
class Request:
    """A call of the application.

    Attributes:
        number: The how many-th of this run, from 1.
        method: Such as POST.
        path: Such as /payments.
        body: The JSON, or the text.
        key: The idempotency key that came with it; empty for none.
    """

    number: int
    method: str
    path: str
    body: Any
    key: str

    def __str__(self) -> str:
        body = "" if self.body in (None, "") else f" {json.dumps(self.body, sort_keys=True, default=str)}"
        return f"{self.method} {self.path}{body}"


@dataclass(frozen=True)
class Answer:
    """What the service says.

    Attributes:
        status: The HTTP status.
        body: What becomes JSON.
    """

    status: int
    body: Any


class Log:
    """What one run has called.

    Attributes:
        effects: The calls that were answered, without those that were refused.
        failures: A sentence for each call on which the answer raised.
    """

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.effects: list[Request] = []
        self.failures: list[str] = []
        self._answer = answer
        self._known: dict[str, Answer] = {}
        self._one_at_a_time = threading.Lock()

    def take(self, method: str, path: str, body: Any, key: str) -> Answer:
        """Answer a call, and note it; one with a known key is the one before."""
        with self._one_at_a_time:
            if key in self._known:
                return self._known[key]
            request = Request(len(self.effects) + 1, method, path, body, key)
            try:
                answer = self._answer(request)
            except Exception as failure:  # noqa: BLE001 - somebody's own, and its mistake is told as what it is
                self.failures.append(f"answer: raised {failure_in_words(failure)}")
                return Answer(500, {"detail": self.failures[-1]})
            if answer.status < 400:  # what was refused has no effect
                self.effects.append(request)
            if key and answer.status < _MAY_PASS:  # what failed is asked for again under the same key
                self._known[key] = answer
            return answer


class Recorder:
    """Listens on the loopback interface, for all runs of a crash test: each has a path of its own."""

    def __init__(self) -> None:
        self._logs: dict[str, Log] = {}
        handler = type("Handler", (_Handler,), {"logs": self._logs})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def for_a_run(self, answer: Callable[[Request], Answer]) -> Iterator[tuple[str, Log]]:
        """The URL for one run, and what is called there: it grows."""
        name = uuid4().hex
        log = self._logs[name] = Log(answer)
        try:
            yield f"http://127.0.0.1:{self._server.server_address[1]}/{name}", log
        finally:
            del self._logs[name]


class _Handler(BaseHTTPRequestHandler):
    logs: dict[str, Log]

    def _respond(self) -> None:
        _, run, *path = self.path.split("/")
        log = self.logs.get(run)
        if log is None:
            self._send(Answer(404, {"detail": "This run of the crash test is over."}))
            return
        raw = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _LARGEST_BODY)).decode()
        self._send(log.take(self.command, f"/{'/'.join(path)}", _parsed(raw), self.headers.get(KEY, "")))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815 - the names that the base class calls

    def _send(self, answer: Answer) -> None:
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class's argument
        """Print nothing."""


def _parsed(raw: str) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw
