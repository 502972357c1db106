"""The serving process itself: how it works with its database."""

import inspect
import threading
from pathlib import Path

import sqlalchemy as sa
from dbos._queue import queue_thread

from widget_store.serving.server import _QUEUE_THREADS, _sqlite_engine


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
