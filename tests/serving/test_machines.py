"""Two stores on two machines, one PostgreSQL server on a third: network namespaces, with cables that can be cut."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.servers import Server, copied
from tests.support import DISPATCHED, Books, Serving, eventually, new_key, starting
from widget_store.databases import at_url, has_embedded_postgres

NETWORK = "10.213.77"
BRIDGE = f"ws{os.getpid()}-1"


def network(*words: str) -> None:
    """Run `ip`, the program that makes networks."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


pytestmark = [
    pytest.mark.thorough("what happens to machines, not to processes"),
    pytest.mark.slow("waits for a machine that is lost to be missed", weight=3),
    pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL on this platform"),
    pytest.mark.skipif(
        shutil.which("ip") is None or os.geteuid() != 0, reason="only root can make networks, with iproute2"
    ),
]


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """Two machines on one network with this one, which is number 1 on it."""
    names = [f"ws{os.getpid()}-2", f"ws{os.getpid()}-3"]
    with contextlib.ExitStack() as stack:
        try:
            network("link", "add", BRIDGE, "type", "bridge")
        except subprocess.CalledProcessError as refusal:
            pytest.skip(f"no network can be made here: {refusal.stderr.decode()}")
        stack.callback(network, "link", "delete", BRIDGE)
        network("address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        network("link", "set", BRIDGE, "up")
        for name in names:
            network("netns", "add", name)
            stack.callback(network, "netns", "delete", name)
            network("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            network("link", "set", name, "master", BRIDGE, "up")
            for words in (("address", "add", f"{address(name)}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
                network("-n", name, *words)
        yield names


def address(machine: str) -> str:
    return f"{NETWORK}.{machine[-1]}"


@pytest.fixture
def server_url(primary: tuple[Server, URL], public_folder: Path, machines: list[str]) -> Iterator[str]:
    """A PostgreSQL server that those machines reach."""
    original, url = primary
    assert machines
    options = f"-c listen_addresses={NETWORK}.1"
    everybody = f"host all all {NETWORK}.0/24 trust"
    with copied(original, str(url.query["host"]), public_folder, options, access=everybody):
        yield f"postgresql+psycopg://postgres@{NETWORK}.1/{url.database}"


@contextlib.contextmanager
def store_on(machine: str, folder: Path, url: str) -> Iterator[Serving]:
    inside = ("ip", "netns", "exec", machine)
    settings = {
        "WIDGET_STORE_DATABASE_URL": url,
        "WIDGET_STORE_DISPATCH_INTERVAL": "0.3",
        "WIDGET_STORE_PAYMENT_TIMEOUT": "30",
    }
    with starting(folder, "--host", address(machine), within=inside, **settings) as store:
        eventually(store.is_ready, "a store that is ready")
        yield store


def test_the_orders_of_a_machine_that_is_lost_are_finished_by_another(
    machines: list[str], server_url: str, public_folder: Path
) -> None:
    books = Books(at_url(server_url))
    lost, kept = machines
    with store_on(lost, public_folder, server_url) as first, store_on(kept, public_folder, server_url) as second:
        keys = [new_key() for _ in range(4)]
        for key in keys:
            assert first.buy(key).text == key
        assert second.sell(new_key()) == 5
        dispatching = first.pay(keys[0])  # three seconds of dispatch: the cable is cut in the midst of them

        network("link", "set", lost, "down")
        eventually(lambda: owners(books) == {"worker-2"}, "a survivor that has taken all workflows over")
        orders = [int(dispatching.text), *(int(second.pay(key).text) for key in keys[1:])]
        eventually(lambda: {second.order_status(order) for order in orders} == {DISPATCHED}, "orders, dispatched")

        network("link", "set", lost, "up")
        eventually(first.sells, "a machine that is back, and sells")
        assert books.violations() == []


def owners(books: Books) -> set[str]:
    """The workers that have workflows which still run."""
    return {
        worker for (worker,) in books.system("SELECT executor_id FROM {dbos}workflow_status WHERE status = 'PENDING'")
    }
