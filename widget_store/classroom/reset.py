"""Back to the beginning: one lesson of a learner, or a whole seat."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

from widget_store.classroom import accounts, class_server, hub
from widget_store.classroom.plan import Plan, Seat
from widget_store.course import learners_copy
from widget_store.errors import WorkshopUnavailable

_FRESH = (
    "import sys; from pathlib import Path; from widget_store.course import learners_copy;"
    " changes = learners_copy.update(Path(sys.argv[1]), [sys.argv[2]]); print(changes.beside.get(sys.argv[2], ''))"
)


def lesson(plan: Plan, seat: Seat, notebook: str) -> str:
    """Give the learner a new copy of a lesson; their own is kept beside it. Return what to say about it.

    It is done under the seat's account: in a learner's folder there may be links to anywhere.
    """
    name = learners_copy.lesson_called(notebook)
    beside = _as_seat(plan, seat, _FRESH, str(plan.home(seat) / learners_copy.FOLDER), name).strip()
    kept = f" Their own is now {beside}." if beside else ""
    return f"{seat.name} has a new copy of {name}.{kept} The page in their browser must be opened again."


def whole(plan: Plan, seat: Seat) -> str:
    """Make a seat as on its first day: without password, files and orders. Return what to say about it.

    What the learner had is kept beside the new home, for root.
    """
    hub.stop_server(plan, seat.name)
    account = accounts.find_account(seat.name)
    if account is not None:
        accounts.end_processes(account.pw_uid)
    hub.ask(plan, "DELETE", f"/users/{seat.name}", accept=(404,))  # and with it the password
    server = class_server.administrator_of(plan)
    class_server.remove(server, seat)
    class_server.add(server, seat)
    kept = _put_aside(plan.home(seat))
    accounts.make_account(seat.name, plan.home(seat))
    hub.ask(plan, "POST", f"/users/{seat.name}")
    return f"{seat.name} is free again. What was in it is in {kept}."


def _put_aside(home: Path) -> Path:
    kept = next(
        place for number in itertools.count(1) if not (place := home.with_name(f"{home.name}-kept-{number}")).exists()
    )
    home.rename(kept)
    os.chown(kept, 0, 0)  # the next learner has the same account, and gets no further than here
    return kept


def _as_seat(plan: Plan, seat: Seat, program: str, *words: str) -> str:
    """Run some Python under a seat's account, and return what it printed."""
    account = accounts.find_account(seat.name)
    if account is None:
        raise WorkshopUnavailable(f"The account {seat.name} is gone. Stop the workshop, and start it again.")
    done = subprocess.run(
        [
            *("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"),
            *(sys.executable, "-P", "-c", program, *words),
        ],
        cwd=plan.home(seat),
        capture_output=True,
        text=True,
        umask=0o077,
        check=False,
    )
    if done.returncode:
        raise WorkshopUnavailable(f"It could not be done for {seat.name}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
