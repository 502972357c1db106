"""uvicorn as a store's worker uses it: how it ends, and how it shares what comes in."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from tests.support import PATIENCE_SECONDS
from widget_store.serving.http_server import MOST_WITHOUT_A_REQUEST, Connection, HttpServer
from widget_store.serving.ports import listen

SIGNALS = (signal.SIGTERM, signal.SIGINT)
MANY = 1_000_000
"""So many requests at work that the pause for them outlasts every test."""


async def no_app(_scope: Any, _receive: Any, _send: Any) -> None:
    """Nobody calls it."""


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def one_of_several(listener: socket.socket) -> AsyncIterator[HttpServer]:
    """A server that takes connections from a socket together with others."""
    config = uvicorn.Config(answer, lifespan="off", log_config=None)
    config.load()
    server = HttpServer(
        config, listener, is_shared=True, on_ready=lambda _port: None, longest_pause=2 * PATIENCE_SECONDS
    )
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[])
    yield server
    server.server_state.tasks.clear()
    await server.shutdown(sockets=[])


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_server_takes_sigterm_for_itself_and_leaves_ctrl_c_to_the_supervisor() -> None:
    seen: list[int] = []
    while_it_serves: list[object] = []

    def stop(_port: int) -> None:
        while_it_serves.append(signal.getsignal(signal.SIGINT))
        signal.raise_signal(signal.SIGTERM)

    before = {which: signal.signal(which, lambda number, _frame: seen.append(number)) for which in SIGNALS}
    mine = signal.getsignal(signal.SIGINT)
    try:
        config = uvicorn.Config(no_app, lifespan="off", log_config=None)
        HttpServer(config, listen("127.0.0.1", 0), is_shared=False, on_ready=stop).serve_until_sigterm()
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
    assert while_it_serves == [mine]
    assert seen == []  # the server has returned, and SIGTERM was not raised again


def test_one_of_several_takes_whatever_comes_in_when_it_has_nothing_to_do() -> None:
    async def is_answered(listener: socket.socket) -> bytes:
        async with one_of_several(listener), asyncio.timeout(PATIENCE_SECONDS):
            return await ask(listener)

    with listen("127.0.0.1", 0) as listener:
        assert asyncio.run(is_answered(listener)).split()[1] == b"200"


def test_one_of_several_bears_a_customer_who_has_left_already(monkeypatch: pytest.MonkeyPatch) -> None:
    fails = iter([True, False])

    async def both_come(listener: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        connect = loop.connect_accepted_socket

        async def fail_once(*arguments: Any) -> Any:
            if next(fails):
                raise OSError(22, "Invalid argument")  # as macOS says of a connection that is gone
            return await connect(*arguments)

        monkeypatch.setattr(loop, "connect_accepted_socket", fail_once)
        async with one_of_several(listener), asyncio.timeout(PATIENCE_SECONDS):
            return [await ask(listener), await ask(listener)][1]

    with listen("127.0.0.1", 0) as listener:
        assert asyncio.run(both_come(listener)).split()[1] == b"200"


async def ask(listener: socket.socket) -> bytes:
    """The first line of an answer; nothing when the connection is closed without one."""
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    told = b""
    with contextlib.suppress(ConnectionError):
        told = await reader.readline()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return told


def test_one_of_several_leaves_what_comes_in_to_another_while_it_is_busy() -> None:
    async def another_takes_it(listener: socket.socket) -> None:
        async with one_of_several(listener) as busy, asyncio.timeout(PATIENCE_SECONDS):
            busy.server_state.tasks.update(range(MANY))  # type: ignore[arg-type] # they are only counted
            with socket.create_connection(listener.getsockname()), listener.dup() as another:
                another.setblocking(False)
                taken, _ = await asyncio.get_running_loop().sock_accept(another)
                taken.close()

    with listen("127.0.0.1", 0) as listener:
        asyncio.run(another_takes_it(listener))


class InNoTime(Connection):
    """A connection that must bring a whole request almost at once."""

    within = 0.05


class InHours(Connection):
    """A connection that has all the time that it wants."""

    within = 10_000.0


@asynccontextmanager
async def connected(
    app: Any, kind: type[Connection] = InNoTime
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server without patience, or with another kind of it."""
    config = uvicorn.Config(app, http=kind, lifespan="off", log_config=None)
    config.load()
    with listen("127.0.0.1", 0) as listener:
        server = HttpServer(config, listener, is_shared=True, on_ready=lambda _port: None)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[])
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield reader, writer
        writer.close()
        await server.shutdown(sockets=[])


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["nothing", "half a head", "half a body"],
)
def test_a_connection_that_brings_no_whole_request_is_closed_however_often_it_sends(begin: bytes) -> None:
    async def wait_for_the_body(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await answer(_scope, receive, send)

    async def is_closed() -> bool:
        async with connected(wait_for_the_body) as (reader, writer):
            writer.write(begin)
            while not reader.at_eof():
                with contextlib.suppress(TimeoutError, ConnectionError):
                    await asyncio.wait_for(reader.read(1), 0.01)
                with contextlib.suppress(ConnectionError):
                    writer.write(b"x" if begin.startswith(b"GET") else b"")
            return True

    assert asyncio.run(is_closed())


def test_a_connection_whose_request_is_at_work_is_left_alone() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(4 * InNoTime.within)
        await answer(scope, receive, send)

    async def told() -> bytes:
        async with connected(slow) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return await reader.readline()

    assert asyncio.run(told()).split()[1] == b"200"


def test_a_client_that_does_not_read_what_it_asks_for_is_cut_off() -> None:
    more_than_a_connection_holds = [b"x" * 1024**2] * 64

    async def is_cut_off() -> bool:
        gone = asyncio.Event()

        async def much(_scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for part in more_than_a_connection_holds:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            assert (await receive())["type"] == "http.disconnect"
            gone.set()

        async with connected(much) as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return await gone.wait()

    assert asyncio.run(is_cut_off())


class NoMoreFiles(socket.socket):
    """A listener of a process that may open no more files."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked = asyncio.Event()

    def accept(self) -> tuple[socket.socket, Any]:
        self.was_asked.set()
        raise OSError(errno.EMFILE, "Too many open files")


def test_a_server_that_may_open_no_more_files_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async def somebody_comes(listener: NoMoreFiles) -> None:
        config = uvicorn.Config(answer, lifespan="off", log_config=None)
        config.load()
        server = HttpServer(config, listener, is_shared=False, on_ready=lambda _port: None)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        async with asyncio.timeout(PATIENCE_SECONDS):
            with socket.create_connection(listener.getsockname()):
                await listener.was_asked.wait()
        await server.shutdown(sockets=[listener])

    with NoMoreFiles() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        asyncio.run(somebody_comes(listener))
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_who_has_waited_longest_makes_room_when_too_many_bring_no_request() -> None:
    async def crowd_out() -> bytes:
        async with connected(answer, InHours) as (first, writer), contextlib.AsyncExitStack() as others:
            for _ in range(MOST_WITHOUT_A_REQUEST):
                _, other = await asyncio.open_connection(*writer.get_extra_info("peername"))
                others.callback(other.close)
            return await first.read()

    assert asyncio.run(crowd_out()) == b"", "it is closed without an answer"
