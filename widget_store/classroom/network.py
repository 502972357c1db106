"""A network for each seat, in which nothing is but its own processes: 127.0.0.1 of one seat is not that of another.

A store listens on 127.0.0.1 and knows no accounts, so on a common network everybody could buy in it. Each seat has a
network namespace, with one cable to a bridge on which the Hub is. The bridge lets no seat reach another: its ports are
isolated. No cable leads out of the machine.
"""

import contextlib
from pathlib import Path

from widget_store.classroom.plan import GATEWAY, Seat
from widget_store.classroom.programs import run
from widget_store.errors import WorkshopUnavailable

_BRIDGE = "widget-class"
_NAMESPACES = Path("/run/netns")


def make_bridge() -> None:
    """Make the bridge that the Hub and all seats are on.

    Raises:
        WorkshopUnavailable: When this machine can't: in most containers, it may not.
    """
    if Path(f"/sys/class/net/{_BRIDGE}").exists():
        return
    try:
        _ip("link", "add", _BRIDGE, "type", "bridge")
    except WorkshopUnavailable as refusal:
        raise WorkshopUnavailable(
            f"{refusal}\nA workshop gives each seat a network of its own. A container may make none: use a server or a "
            "virtual machine, or JupyterHub on Kubernetes (docs/workshop.md)."
        ) from None
    _ip("address", "add", f"{GATEWAY}/16", "dev", _BRIDGE)
    _ip("link", "set", _BRIDGE, "up")


def remove_bridge() -> None:
    """Remove it, if it is there."""
    if Path(f"/sys/class/net/{_BRIDGE}").exists():
        _ip("link", "delete", _BRIDGE)


def make_network(seat: Seat) -> None:
    """Make a seat's network, if it is not there yet, and connect it to the bridge."""
    if place(seat).exists():
        return
    with contextlib.ExitStack() as undo:
        _ip("netns", "add", seat.name)
        undo.callback(remove_network, seat)
        _ip("link", "add", seat.name, "type", "veth", "peer", "name", "eth0", "netns", seat.name)
        _ip("link", "set", seat.name, "master", _BRIDGE, "up")
        _ip("link", "set", seat.name, "type", "bridge_slave", "isolated", "on")
        _ip("-n", seat.name, "address", "add", f"{seat.address}/16", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", seat.name, "link", "set", device, "up")
        undo.pop_all()


def remove_network(seat: Seat) -> None:
    """Remove a seat's network with its cable, if it is there."""
    if place(seat).exists():
        _ip("netns", "delete", seat.name)


def place(seat: Seat) -> Path:
    """The file by which a process enters a seat's network."""
    return _NAMESPACES / seat.name


def _ip(*words: str) -> None:
    run("ip", *words)
