"""The serving process itself: how it answers, and how it ends."""

import asyncio
import inspect
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from dbos._queue import queue_thread

from widget_store.server import _QUEUE_THREADS, _listen, _Server, _sqlite_engine

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


def test_on_sqlite_a_queue_thread_counts_and_takes_in_one_turn(tmp_path: Path) -> None:
    """Otherwise two workers take what a queue's limit allows to one: DBOS counts first, and changes rows later."""
    engine = _sqlite_engine(f"sqlite:///{tmp_path / 'dbos.sqlite'}")
    others = sa.create_engine(f"sqlite:///{tmp_path / 'dbos.sqlite'}", connect_args={"timeout": 0.01})
    locked: dict[str, bool] = {}

    def count() -> None:
        with engine.begin() as connection, others.connect() as other:
            connection.execute(sa.text("SELECT 1")).scalar()
            try:
                other.exec_driver_sql("BEGIN IMMEDIATE")
            except sa.exc.OperationalError:
                locked[threading.current_thread().name] = True

    for name in ("queue-worker-trucks", "anything else"):
        thread = threading.Thread(target=count, name=name)
        thread.start()
        thread.join()
    engine.dispose()
    others.dispose()
    assert locked == {"queue-worker-trucks": True}


def test_dbos_names_its_queue_threads_so() -> None:
    assert f'name=f"{_QUEUE_THREADS}{{queue_name}}"' in inspect.getsource(queue_thread)
