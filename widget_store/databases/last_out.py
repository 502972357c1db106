"""Runs beside the embedded PostgreSQL, and stops it once nobody uses it: its users may have been killed, all of them.

Whoever leaves in good order stops the server, if nobody else uses it. A kernel that is restarted in the midst of a
cell, or whose JupyterLab was killed, does not. This process imports nothing slow before it has something to do: it
waits as long as the server runs.
"""

import contextlib
import signal
import sys
import time
from pathlib import Path

import fasteners
import psutil

_LOOK_EVERY_SECONDS = 1.0


def main(data_dir: Path, pid: int) -> None:
    """Wait until the server in a data folder has ended, or has no user; then stop it.

    Args:
        data_dir: The kit's data folder.
        pid: The server's process id.
    """
    users = data_dir / "postgres.users"
    looks_without_users = 0
    try:
        server = psutil.Process(pid)
    except psutil.NoSuchProcess:  # it has just ended
        return
    try:
        while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
            # Twice in a row: whoever leaves in good order stops it meanwhile, and waits until it has ended.
            looks_without_users = looks_without_users + 1 if _nobody_holds(users) else 0
            if looks_without_users == 2:
                looks_without_users = 0
                _stop(data_dir)
            time.sleep(_LOOK_EVERY_SECONDS)
    except psutil.NoSuchProcess:  # it has just ended
        return
    except FileNotFoundError:  # its folder was deleted or renamed: nobody could find it there, to stop it
        with contextlib.suppress(psutil.NoSuchProcess):
            server.send_signal(signal.SIGINT)  # its fast shutdown


def _nobody_holds(users: Path) -> bool:
    if not users.exists():
        raise FileNotFoundError  # to take the lock would make the folder again
    lock = fasteners.InterProcessReaderWriterLock(users)
    if not lock.acquire_write_lock(blocking=False):
        lock.lockfile.close()
        return False
    lock.release_write_lock()
    return True


def _stop(data_dir: Path) -> None:
    from widget_store.databases import stop_embedded_postgres
    from widget_store.errors import WidgetStoreError

    try:
        stop_embedded_postgres(data_dir)
    except WidgetStoreError:
        return  # it takes its time: it is looked at again


if __name__ == "__main__":
    # It is run as a file, for its package would import SQLAlchemy. So it has to say where that package is.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main(Path(sys.argv[1]), int(sys.argv[2]))
