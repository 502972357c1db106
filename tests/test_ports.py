"""Where the store listens."""

import asyncio
import contextlib
import os
import socket

import pytest

from widget_store.errors import PortTaken
from widget_store.ports import free_port, listen


def test_an_answer_is_not_held_back_until_the_one_before_it_is_acknowledged() -> None:
    """That costs 40 ms a request, and asyncio only turns it off for a socket of which it knows that it is TCP."""

    async def is_sent_at_once(listener: socket.socket) -> bool:
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

    with listen("127.0.0.1", 0) as listener:
        assert asyncio.run(is_sent_at_once(listener))


def test_a_free_port_is_none_that_the_system_gives_to_others() -> None:
    given_by_the_system = []
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            other = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            given_by_the_system.append(other.getsockname()[1])
        for port in (free_port("127.0.0.1", 0), stack.enter_context(listen("127.0.0.1", 0)).getsockname()[1]):
            assert 20_000 <= port < 32_768 <= min(given_by_the_system)


def test_where_somebody_is_already_no_free_port_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        taken, free = first.getsockname()[1], second.getsockname()[1]
        second.close()
        monkeypatch.setattr("widget_store.ports._TO_KEEP", [taken, free])
        assert {free_port("127.0.0.1", 0) for _ in range(10)} == {free}
        with pytest.raises(PortTaken, match=f"process {os.getpid()}"):
            free_port("127.0.0.1", taken)
