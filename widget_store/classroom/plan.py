"""What a workshop is made of, in files that only root may read: its seats, its address, its limits, its secrets."""

import dataclasses
import json
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from widget_store.databases import make_private_file
from widget_store.errors import WorkshopUnavailable

FOLDER = Path("/var/lib/widget-store-workshop")
NETWORK = "198.18"
"""The first half of the addresses inside the machine: a range that is reserved for tests, and that no network has."""
GATEWAY = f"{NETWORK}.0.1"
"""Where the Hub listens for the seats' servers."""
DATABASE_ACCOUNT = "seat-database"
MOST_SEATS = 200
_PORT_OF_SEATS = 8888
_EASY_TO_READ = "abcdefghjkmnpqrstuvwxyz23456789"  # no letter that looks like another
_PLAN = "plan.json"


@dataclass(frozen=True)
class Seat:
    """A learner's place: a system account, a network, a role and a database, all named after its number.

    Attributes:
        number: From 1 on.
        password: Of its role in the database.
    """

    number: int
    password: str = field(repr=False)

    @property
    def name(self) -> str:
        """Its account, and what the learner logs in as."""
        return f"seat-{self.number:02d}"

    @property
    def role(self) -> str:
        """Its role in the database, and its database."""
        return f"seat_{self.number:02d}"

    @property
    def address(self) -> str:
        """Where its server listens."""
        return f"{NETWORK}.1.{self.number}"

    @property
    def port(self) -> int:
        """The port of its server, which is its alone: each seat has a network of its own."""
        return _PORT_OF_SEATS


@dataclass(frozen=True)
class Plan:
    """A workshop.

    Attributes:
        folder: Where all of it is kept.
        seats: Its seats.
        host: The address that it listens on.
        port: The port that it listens on.
        certificate: The file of its TLS certificate, if it has one.
        key: The file of the certificate's key.
        memory_mb: What all processes of a seat may have together, in MB.
        tasks: How many processes and threads a seat may have.
        idle_minutes: After how long without anybody a seat's server is stopped.
        hub_port: Where the Hub listens for the seats' servers.
        proxy_port: Where the proxy is told by the Hub what to do.
        class_word: What a learner has to know to take a seat.
        hub_token: The workshop's own token for the Hub.
    """

    folder: Path
    seats: tuple[Seat, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None
    memory_mb: int = 1500
    tasks: int = 400
    idle_minutes: int = 120
    hub_port: int = 0
    proxy_port: int = 0
    class_word: str = field(default="", repr=False)
    hub_token: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Where learners open it."""
        return f"{'https' if self.certificate else 'http'}://{self.host}:{self.port}"

    @property
    def sockets(self) -> Path:
        """The folder of the database's socket."""
        return self.folder / "sockets"

    @property
    def homes(self) -> Path:
        """The folder of the seats' homes."""
        return self.folder / "homes"

    def home(self, seat: Seat) -> Path:
        """A seat's home folder."""
        return self.homes / seat.name

    def seat(self, name: str) -> Seat:
        """The seat of that name or number.

        Raises:
            WorkshopUnavailable: When there is none.
        """
        for seat in self.seats:
            if name in {seat.name, str(seat.number)}:
                return seat
        raise WorkshopUnavailable(
            f"There is no seat {name!r}. The seats: {', '.join(seat.name for seat in self.seats) or 'none'}."
        )

    def with_seats(self, more: int) -> "Plan":
        """The same with more seats.

        Raises:
            WorkshopUnavailable: When those are too many.
        """
        first = max((seat.number for seat in self.seats), default=0) + 1
        if first + more - 1 > MOST_SEATS:
            raise WorkshopUnavailable(f"A workshop has at most {MOST_SEATS} seats. Use a second machine.")
        new = tuple(Seat(number, secrets.token_urlsafe(32)) for number in range(first, first + more))
        return dataclasses.replace(self, seats=self.seats + new)

    def with_secrets(self) -> "Plan":
        """The same with new secrets, and with free ports for what runs behind the door."""
        return dataclasses.replace(
            self,
            class_word="-".join("".join(secrets.choice(_EASY_TO_READ) for _ in range(4)) for _ in range(3)),
            hub_token=secrets.token_urlsafe(32),
            hub_port=_free_port(),
            proxy_port=_free_port(),
        )

    def save(self) -> None:
        """Write it to its folder; only root may read it."""
        as_json = dataclasses.asdict(self) | {
            name: None if getattr(self, name) is None else str(getattr(self, name))
            for name in ("folder", "certificate", "key")
        }
        beside = self.folder / f".{_PLAN}.{secrets.token_hex(8)}"
        make_private_file(beside, json.dumps(as_json, indent=1))
        beside.replace(self.folder / _PLAN)


def load(folder: Path) -> Plan | None:
    """The workshop in a folder; None when there is none.

    Raises:
        WorkshopUnavailable: When the file can't be read.
    """
    try:
        found: dict[str, Any] = json.loads((folder / _PLAN).read_bytes())
        paths = {name: found[name] and Path(found[name]) for name in ("folder", "certificate", "key")}
        return Plan(**found | paths | {"seats": tuple(Seat(**seat) for seat in found["seats"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as failure:
        raise WorkshopUnavailable(
            f"{folder / _PLAN} can't be used: {failure}.\nIf no workshop needs it any more, delete {folder}."
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
