"""The command `widget-store workshop`: a class's JupyterHub from its beginning to its end."""

import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import fasteners
import psutil

from widget_store.classroom import accounts, class_server, hub, limits, network, reset
from widget_store.classroom.machine import check_machine
from widget_store.classroom.plan import DATABASE_ACCOUNT, Plan, Seat, load
from widget_store.course.learners_copy import FOLDER as COURSE
from widget_store.errors import DatabaseUnavailable, WorkshopUnavailable
from widget_store.system.interrupts import interrupts_wait

_STOPPED_WITHIN_SECONDS = 180.0
_LOOK_EVERY_SECONDS = 0.5


def run(plan: Plan, seats: int, *, keep: bool) -> None:
    """Run a workshop until it is interrupted.

    Args:
        plan: What was asked for.
        seats: How many seats it has at least.
        keep: Whether accounts, homes and databases stay at its end, for the next day.

    Raises:
        WorkshopUnavailable: When it can't be run on this machine; it says why.
    """
    check_machine(plan)
    _make_folder(plan.folder)
    with _only_one(plan.folder):
        plan = _planned(plan, seats)
        with contextlib.ExitStack() as ending:
            ending.callback(_clear_away, plan.folder, keep=keep)
            servers = _started(plan, ending)
            _tell(plan)
            _watch(servers)


def stop(folder: Path, *, keep: bool) -> None:
    """Stop the workshop in a folder; clear away what one has left that was killed.

    Raises:
        WorkshopUnavailable: When there is none, or it does not stop.
    """
    plan = load(folder)
    if plan is None:
        raise WorkshopUnavailable(f"There is no workshop in {folder}.")
    lock = fasteners.InterProcessLock(folder / "lock")
    if not lock.acquire(blocking=False):
        _interrupt(folder)
        if not lock.acquire(timeout=_STOPPED_WITHIN_SECONDS):
            raise WorkshopUnavailable(f"The workshop in {folder} does not stop within {_STOPPED_WITHIN_SECONDS:.0f} s.")
    try:
        if load(folder) is not None:
            _clear_away(folder, keep=keep)
    finally:
        lock.release()


def add_seats(folder: Path, more: int) -> None:
    """Add seats to a running workshop."""
    plan = running(folder)
    wider = plan.with_seats(more)
    new = wider.seats[len(plan.seats) :]
    server = class_server.administrator_of(plan)
    for seat in new:
        _make_seat(wider, seat)
        class_server.add(server, seat)
    wider.save()
    for seat in new:
        hub.ask(plan, "POST", f"/users/{seat.name}")
    print(f"New seats: {', '.join(seat.name for seat in new)}.")


def reset_seat(folder: Path, name: str, notebook: str | None = None) -> None:
    """Give a learner a new copy of one lesson, or a seat as on its first day."""
    plan = running(folder)
    seat = plan.seat(name)
    print(reset.lesson(plan, seat, notebook) if notebook else reset.whole(plan, seat))


def running(folder: Path) -> Plan:
    """The workshop that runs in a folder.

    Raises:
        WorkshopUnavailable: When none does.
    """
    plan = load(folder)
    if plan is None or not _is_held(folder):
        raise WorkshopUnavailable(f"No workshop runs in {folder}.\nStart it: widget-store workshop --seats 12")
    return plan


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # accounts come through to their homes, and see nothing on the way


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder, and the machine: the names of its accounts and networks are there once."""
    for place in (folder / "lock", Path("/run/widget-store-workshop.lock")):
        place.touch(mode=0o600)
    of_folder = fasteners.InterProcessLock(folder / "lock")
    of_machine = fasteners.InterProcessLock("/run/widget-store-workshop.lock")
    if not (of_folder.acquire(blocking=False) and of_machine.acquire(blocking=False)):
        raise WorkshopUnavailable("A workshop runs on this machine already.\nStop it: widget-store workshop --stop")
    (folder / "pid").write_text(str(os.getpid()), encoding="ascii")
    try:
        yield
    finally:
        of_machine.release()
        of_folder.release()


def _is_held(folder: Path) -> bool:
    lock = fasteners.InterProcessLock(folder / "lock")
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True


def _interrupt(folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int((folder / "pid").read_text(encoding="ascii")))
        if "widget_store.classroom" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGTERM)


def _planned(plan: Plan, seats: int) -> Plan:
    """What is asked for, with the seats and secrets of the time before, if they were kept."""
    before = load(plan.folder)
    if before is not None:
        same = {name: getattr(before, name) for name in ("seats", "class_word", "hub_token", "hub_port", "proxy_port")}
        plan = dataclasses.replace(plan, **same)
    else:
        plan = plan.with_secrets()
    plan = plan.with_seats(max(0, seats - len(plan.seats)))
    plan.save()
    return plan


def _started(plan: Plan, ending: contextlib.ExitStack) -> tuple[class_server.ClassServer, hub.Hub]:
    database, of_class = class_server.ClassServer(plan), hub.Hub(plan)
    plan.homes.mkdir(exist_ok=True)
    plan.homes.chmod(0o711)
    network.make_bridge()
    for seat in plan.seats:
        _make_seat(plan, seat)
    ending.callback(database.stop)
    database.start()
    for seat in plan.seats:
        database.add(seat)
    ending.callback(of_class.stop)
    of_class.start()
    return database, of_class


def _make_seat(plan: Plan, seat: Seat) -> None:
    accounts.make_account(seat.name, plan.home(seat))
    network.make_network(seat)


def _tell(plan: Plan) -> None:
    """Say what the instructor needs. What is secret is shown at a terminal only: other output may be a log."""
    names = f"{plan.seats[0].name} to {plan.seats[-1].name}"
    word = plan.folder / "class-word"
    word.write_text(f"{plan.class_word}\n", encoding="ascii")
    word.chmod(0o600)
    print(limits.make_limits(plan, plan.seats[0]).in_words(plan))
    print(f"Seats: {names}. Each learner takes one, with a password of their own and the class word.")
    print(f"The class word: {plan.class_word}" if sys.stdout.isatty() else f"The class word is in {word}.")
    print(f"ready {plan.url}", flush=True)


def _watch(servers: tuple[class_server.ClassServer, hub.Hub]) -> None:
    """Start again what is killed, until we are interrupted."""
    while True:
        for server in servers:
            try:
                server.revive()
            except (DatabaseUnavailable, WorkshopUnavailable) as failure:  # the next round tries again
                print(f"widget-store workshop: {failure}", file=sys.stderr, flush=True)
        time.sleep(_LOOK_EVERY_SECONDS)


def _clear_away(folder: Path, *, keep: bool) -> None:
    """Take from the machine what a workshop has made. With `keep`, only what runs."""
    plan = load(folder)
    if plan is None:
        return
    with interrupts_wait():
        hub.end_what_is_left(folder)
        for seat in plan.seats:
            if account := accounts.find_account(seat.name):
                accounts.end_processes(account.pw_uid)
            network.remove_network(seat)
            limits.remove_limits(seat)
        network.remove_bridge()
        if keep:
            print(f"Stopped. All seats are kept in {folder}.", flush=True)
            return
        packed = _pack_work(plan)
        for name in (*(seat.name for seat in plan.seats), DATABASE_ACCOUNT):
            accounts.remove_account(name)
        _empty(folder)
        work = f"; the learners' work is in {packed}" if packed else ""
        print(f"Stopped. The accounts and databases are gone{work}.", flush=True)


def _pack_work(plan: Plan) -> Path | None:
    """Put what the learners have written into one file that only root may read; None when they have nothing."""
    copies = [copy for seat in plan.seats for copy in sorted(plan.homes.glob(f"{seat.name}*/{COURSE}"))]
    if not copies:
        return None
    packed = plan.folder / f"work-{time.strftime('%Y-%m-%d-%H%M%S')}.tar.gz"
    with packed.open("xb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        packed.chmod(0o600)
        for copy in copies:
            archive.add(copy, arcname=str(copy.relative_to(plan.homes)))  # links are kept as links
    return packed


def _empty(folder: Path) -> None:
    """Delete what is in the folder, except the work of this class and of those before."""
    for place in folder.iterdir():
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        elif not place.name.startswith("work-"):
            place.unlink(missing_ok=True)
