"""The system's accounts of a workshop: one for each seat, one for the database. They are for the workshop only.

Nobody logs in to them in another way: they have no password and no shell, and have expired, which keeps ssh and cron
from doing anything for them. The Hub is root, and starts each seat's server under the seat's account.
"""

import contextlib
import os
import pwd
import shutil
import time
from pathlib import Path

import psutil

from widget_store.classroom.programs import run
from widget_store.errors import WorkshopUnavailable

_COMMENT = "a seat of widget-store workshop"
_EXPIRED = "1970-01-02"
_ENDED_WITHIN_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.02


def make_account(name: str, home: Path) -> pwd.struct_passwd:
    """Make an account with a private home folder; one that is there already from a workshop is kept.

    Raises:
        WorkshopUnavailable: When somebody else has it, or it can't be made.
    """
    account = find_account(name)
    if account is None:
        run(
            "useradd",
            *("--home-dir", home, "--no-create-home", "--user-group", "--no-log-init"),
            *("--shell", "/usr/sbin/nologin", "--expiredate", _EXPIRED, "--comment", _COMMENT, name),
        )
        account = pwd.getpwnam(name)
    elif not is_ours(account):
        raise WorkshopUnavailable(f"This machine has an account {name} already, and it is not a workshop's.")
    home.mkdir(mode=0o700, exist_ok=True)
    home.chmod(0o700)
    os.chown(home, account.pw_uid, account.pw_gid)
    return account


def remove_account(name: str) -> None:
    """End all processes of an account, and remove it; its home folder stays. Nothing happens when there is none."""
    account = find_account(name)
    if account is not None and is_ours(account):
        end_processes(account.pw_uid)
        run("userdel", name)


def find_account(name: str) -> pwd.struct_passwd | None:
    """The account of that name, if there is one."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def is_ours(account: pwd.struct_passwd) -> bool:
    """Whether a workshop has made it."""
    return account.pw_gecos == _COMMENT


def end_processes(uid: int) -> None:
    """Kill all that runs under an account of ours, and all that these start meanwhile.

    Raises:
        WorkshopUnavailable: When something does not end.
    """
    deadline = time.monotonic() + _ENDED_WITHIN_SECONDS
    while alive := _processes(uid):
        if time.monotonic() > deadline:
            raise WorkshopUnavailable(f"These processes don't end: {[process.pid for process in alive]}")
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(_LOOK_EVERY_SECONDS)


def forget_home(home: Path) -> None:
    """Delete a home folder, which may hold anything: no link is followed."""
    shutil.rmtree(home, ignore_errors=True)


def _processes(uid: int) -> list[psutil.Process]:
    """All that run under an account; one that has ended waits for its parent, and can't be killed again."""
    return [
        process
        for process in psutil.process_iter(["uids", "status"])
        if process.info["uids"]
        and uid in (process.info["uids"].real, process.info["uids"].effective)
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]
