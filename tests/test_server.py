"""The serving process itself: how it ends."""

import signal
import socket
from typing import Any

import pytest
import uvicorn

from widget_store.server import _Server

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
