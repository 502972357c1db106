"""uvicorn as a store's worker uses it: it says when it answers, ends without a word, and shares the work."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

_PAUSE_FOR_EACH_REQUEST_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.02
_PAUSE_IN_TROUBLE_SECONDS = 1.0
MOST_WITHOUT_A_REQUEST = 64
"""How many connections may wait for a whole request at once."""


class Connection(H11Protocol):
    """A connection that brings a whole request in time, or makes room for others.

    uvicorn waits for a request without an end. A few hundred connections that send half of one would take all the files
    that the process may open, and nobody else could come in. So each has some seconds, and when too many have brought
    no whole request, the one that has waited longest is closed. One whose request is at work is left alone, for as long
    as its client reads the answers.

    Attributes:
        within: Seconds for a whole request, head and body, from the connection's begin or from the answer before; and
            for the client to read what fills the connection.
    """

    within: ClassVar[float] = 10.0
    _without_a_request: ClassVar[dict["Connection", asyncio.TimerHandle]] = {}  # who has waited longest comes first
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._note()

    def data_received(self, data: bytes) -> None:
        """Go on with a request, or begin one."""
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.within, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it has read."""
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._wait_no_more()
        self._forget_unread()
        super().connection_lost(exc)

    def _note(self) -> None:
        """Note whether the connection waits for a request. What it sends meanwhile gives it no more time."""
        if self.transport.is_closing() or self._is_at_work():
            self._wait_no_more()
        elif self not in self._without_a_request:
            self._without_a_request[self] = self.loop.call_later(self.within, self._give_up)
            if len(self._without_a_request) > MOST_WITHOUT_A_REQUEST:
                next(iter(self._without_a_request))._give_up()  # noqa: SLF001 - one of its own kind

    def _is_at_work(self) -> bool:
        """Whether a whole request is here, and its answer is not complete."""
        request: RequestResponseCycle | None = getattr(self, "cycle", None)  # None until the first one
        return request is not None and not request.more_body and not request.response_complete

    def _wait_no_more(self) -> None:
        if (timer := self._without_a_request.pop(self, None)) is not None:
            timer.cancel()

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        self._wait_no_more()
        self.transport.close()


class HttpServer(uvicorn.Server):
    """A uvicorn server on a socket that it may share with those of other processes.

    Args:
        config: What to serve; its host and port are not looked at.
        listener: Where connections come in.
        is_shared: Whether other processes take connections from this socket, too.
        on_ready: Called with the port once requests are answered.
        longest_pause: Seconds for which a busy server leaves a connection to the others.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        *,
        is_shared: bool,
        on_ready: Callable[[int], None],
        longest_pause: float = _LONGEST_PAUSE_SECONDS,
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._is_shared = is_shared
        self._on_ready = on_ready
        self._longest_pause = longest_pause

    def serve_until_sigterm(self) -> None:
        """Serve, and return when all requests are answered or cut off."""
        self.run(sockets=[] if self._is_shared else [self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        asyncio.get_running_loop().set_exception_handler(_tell)
        await super().startup(sockets)
        if self.started:
            if self._is_shared:
                self._accepting = asyncio.create_task(self._accept_when_others_are_busier())
                self._accepting.add_done_callback(self._end_if_it_failed)
            self._on_ready(self._listener.getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nobody any more, and let who was taken have an answer, for a while."""
        if self._is_shared:
            self._accepting.cancel()
        # Whoever still waits is cut off, and asks again with the same key. uvicorn would call that an error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM as the word to stop, and nothing else.

        uvicorn's own would also take SIGINT, which is the supervisor's to act on, and would raise SIGTERM again in the
        end: the process would die of it before `serve_until_sigterm` could return.
        """
        before = signal.signal(signal.SIGTERM, self.handle_exit)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    async def _accept_when_others_are_busier(self) -> None:
        """Take connections, each after a pause for every request at work here: who has least to do comes first.

        Were connections dealt out at random, the workers' queues would drift far apart: sixteen customers are then as
        often all with one of two as they are eight with each (Gordon and Newell, 1967, on closed networks of queues).
        """
        self._listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            await _readable(self._listener)
            pause = _PAUSE_FOR_EACH_REQUEST_SECONDS * len(self.server_state.tasks)
            await asyncio.sleep(min(pause, self._longest_pause))
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):  # another took it, or it is gone again
                continue
            except OSError:  # no more files may be opened now, for one
                await asyncio.sleep(_PAUSE_IN_TROUBLE_SECONDS)
                continue
            try:
                await loop.connect_accepted_socket(self._protocol, connection)
            except OSError:  # who had come has left already
                connection.close()

    def _end_if_it_failed(self, accepting: "asyncio.Task[None]") -> None:
        """A worker that takes nobody any more is of no use: end, and be started again."""
        if not accepting.cancelled():
            self.should_exit = True

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


async def _readable(listener: socket.socket) -> None:
    """Return once a connection waits, and leave it there."""
    loop = asyncio.get_running_loop()
    waits = asyncio.Event()
    loop.add_reader(listener, waits.set)
    try:
        await waits.wait()
    finally:
        loop.remove_reader(listener)


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell a failure of the loop, but not that no more files may be opened now: it goes on in a second.

    It has then tried to take 2048 connections, and would tell each failure with a traceback. With a few hundred
    connections, a client could fill the disk that the log is on.
    """
    failure = context.get("exception")
    if not (isinstance(failure, OSError) and failure.errno in {errno.EMFILE, errno.ENFILE}):
        loop.default_exception_handler(context)
