"""The serving process itself: how it answers, and how it ends."""

import asyncio
import signal
import socket
from typing import Any

import pytest
import uvicorn

from widget_store.server import _listen, _Server

SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def no_app(_scope: Any, _receive: Any, _send: Any) -> None:
    """Nobody calls it."""


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
        _Server(config, on_ready=stop).run(sockets=[socket.create_server(("127.0.0.1", 0))])
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
    assert while_it_serves == [mine]
    assert seen == []  # the server has returned, and SIGTERM was not raised again


def test_an_answer_is_not_held_back_until_the_one_before_it_is_acknowledged() -> None:
    """That costs 40 ms a request, and asyncio only turns it off for a socket of which it knows that it is TCP."""
    listener = _listen(uvicorn.Config(no_app, host="127.0.0.1", port=0), shares_port=False)

    async def is_sent_at_once() -> bool:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accept, sock=listener):
            _, customer = await asyncio.open_connection(*listener.getsockname())
            try:
                return bool(await told)
            finally:
                customer.close()
                await customer.wait_closed()

    assert asyncio.run(is_sent_at_once())
