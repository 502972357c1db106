"""What the Hub runs of ours: who takes a seat, and how a seat's server is started and ended."""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from firstuseauthenticator import FirstUseAuthenticator
from jupyterhub.spawner import LocalProcessSpawner
from traitlets import Unicode

from widget_store.classroom import accounts, enter_seat, limits, network
from widget_store.classroom.class_server import url_of
from widget_store.classroom.plan import Plan, load
from widget_store.settings import PREFIX


def plan_here() -> Plan:
    """The workshop that this Hub belongs to, as it is now: seats may have been added."""
    plan = load(Path(os.environ["WIDGET_STORE_WORKSHOP"]))
    assert plan is not None  # noqa: S101 - `workshop` has written it
    return plan


class ClassWordAuthenticator(FirstUseAuthenticator):  # type: ignore[misc]
    """A seat belongs to the first who takes it, with the class word, and gives it a password."""

    class_word = Unicode(config=True)

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """The name of the seat, if whoever asks for it may have it."""
        name = self.normalize_username(data["username"])
        if not self._is_taken(name) and not self._knows_the_word(data.get("otp", "")):
            handler.custom_login_error = "This seat is free. To take it, you need the class word, too."
            return None
        found: str | None = await super().authenticate(handler, data)
        return found

    def _is_taken(self, name: str) -> bool:
        import dbm

        with dbm.open(self.dbm_path, "c", 0o600) as passwords:
            return name.encode() in passwords

    def _knows_the_word(self, word: str) -> bool:
        return secrets.compare_digest(word.strip().lower().encode(), self.class_word.encode())


class SeatSpawner(LocalProcessSpawner):  # type: ignore[misc]
    """Starts a seat's server in the seat's network, under its account and its limits; ends all that it has left."""

    def make_preexec_fn(self, _name: str) -> None:
        """Nothing is done between fork and exec: `enter_seat` does it as a program of its own."""

    def get_env(self) -> dict[str, str]:
        """What the server is told; other accounts can't read it."""
        seat = plan_here().seat(self.user.name)
        environment: dict[str, str] = super().get_env()
        return environment | {f"{PREFIX}DATABASE_URL": url_of(plan_here(), seat), "SHELL": "/bin/bash"}

    async def start(self) -> tuple[str, int]:
        """Start it; return where it listens."""
        plan = plan_here()
        seat = plan.seat(self.user.name)
        account = accounts.find_account(seat.name)
        assert account is not None  # noqa: S101 - it was made before the Hub heard of the seat
        accounts.end_processes(account.pw_uid)  # what a server that was killed has left
        within = limits.make_limits(plan, seat)
        entry = {
            "uid": account.pw_uid,
            "gid": account.pw_gid,
            "home": str(plan.home(seat)),
            "groups": [str(group) for group in within.groups],
            "tasks": plan.tasks,
            "address_space": None if within.has_memory else 2 * plan.memory_mb * 1000**2,
        }
        self.ip, self.port = seat.address, seat.port
        self.cmd = [
            *("nsenter", f"--net={network.place(seat)}", "--", "unshare", "--mount", "--ipc", "--"),
            *(sys.executable, "-I", enter_seat.__file__, json.dumps(entry)),
            *(sys.executable, "-P", "-m", "widget_store.classroom.seat_server", seat.address, str(seat.port)),
        ]
        await super().start()
        return seat.address, seat.port

    async def stop(self, now: bool = False) -> None:
        """Stop it, and end whatever the seat has left running."""
        await super().stop(now)
        if account := accounts.find_account(self.user.name):
            accounts.end_processes(account.pw_uid)
