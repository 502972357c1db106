"""Where the store listens."""

import asyncio
import os
import socket

import pytest

from widget_store.errors import PortTaken
from widget_store.serving.ports import free_port, listen


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


def test_a_free_port_is_below_those_that_systems_give_to_others() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert 20_000 <= listener.getsockname()[1] < 32_768
        assert 20_000 <= free_port("127.0.0.1", 0) < 32_768


def test_where_somebody_is_already_no_free_port_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        taken, free = first.getsockname()[1], second.getsockname()[1]
        second.close()
        monkeypatch.setattr("widget_store.serving.ports._FREE", [taken, free])
        assert {free_port("127.0.0.1", 0) for _ in range(10)} == {free}
        with pytest.raises(PortTaken, match=f"process {os.getpid()}"):
            free_port("127.0.0.1", taken)
