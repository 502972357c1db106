"""Where the store listens."""

import asyncio
import socket

from widget_store.ports import listen


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
