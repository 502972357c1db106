"""The switch with which Linux does without what Windows lacks: it is a stand-in, and these tests see that it acts."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import ROOT, command, environment, serving_cold
from widget_store.databases.embedded import server_pid
from widget_store.system.windows import SWITCH

GUARD = Path(__file__).parents[1] / "as_on_windows"
ON = {SWITCH: "1", "PYTHONPATH": str(GUARD)}
"""The switch, and what makes the kit's own modules fail where they use what Windows lacks."""


@pytest.mark.parametrize(
    "forgotten",
    [
        "import os; os.kill(os.getpid(), 0)",
        "import signal; signal.SIGKILL",
        "from socket import AF_UNIX",
        "import fcntl",
        "from multiprocessing import forkserver",
        "import multiprocessing; multiprocessing.get_context('fork')",
    ],
)
def test_what_windows_lacks_fails_in_the_kit_and_nowhere_else(forgotten: str) -> None:
    def run(file: Path) -> "subprocess.CompletedProcess[str]":
        program = f"exec(compile({forgotten!r}, {str(file)!r}, 'exec'))"
        return subprocess.run(
            [sys.executable, "-c", program], env=environment(**ON), capture_output=True, text=True, check=False
        )

    assert (
        run(ROOT / "widget_store" / "serving" / "ports.py")
        .stderr.splitlines()[-1]
        .startswith(("AttributeError:", "ImportError:", "ModuleNotFoundError:", "ValueError:"))
    )
    elsewhere = run(Path(psutil.__file__))
    assert (elsewhere.returncode, elsewhere.stderr) == (0, "")


@pytest.mark.slow("imports DBOS")
def test_behind_the_switch_a_crash_point_ends_its_process_without_a_signal() -> None:
    program = "from widget_store.system.processes import die; die()"
    done = subprocess.run([sys.executable, "-c", program], env=environment(**ON), check=False)
    assert done.returncode == 137  # a signal would be told as -9


@pytest.mark.slow("starts a store cold, and a database")
def test_behind_the_switch_nothing_is_forked_and_the_database_has_no_unix_socket(
    public_folder: Path, data_dir: Path
) -> None:
    with serving_cold(public_folder, WIDGET_STORE_DATA_DIR=str(data_dir), **ON) as store:
        workers = [process for process in store.family()[1:] if "spawn_main" in " ".join(process.cmdline())]
        assert store.worker() in workers
        postmaster = server_pid(data_dir / "postgres")
        assert postmaster is not None
        listening = [each for each in psutil.Process(postmaster).net_connections("all") if each.status == "LISTEN"]
        assert [(each.family, each.laddr[0]) for each in listening] == [(socket.AF_INET, "127.0.0.1")]
        assert not list(data_dir.rglob(".s.PGSQL.*"))
        number = store.sell("anna")
        store.kill_worker()
        assert store.persistently(lambda: store.client.get(f"/order/{number}")).status_code == 200


@pytest.mark.slow("starts a database twice")
def test_behind_the_switch_doctor_finds_all_well_and_a_reset_is_made(data_dir: Path) -> None:
    found = command("doctor", WIDGET_STORE_DATA_DIR=str(data_dir), **ON)
    assert "ok    database: embedded PostgreSQL" in found.stdout
    assert "ok    crash tests" in found.stdout
    back = command("reset", WIDGET_STORE_DATA_DIR=str(data_dir), **ON)
    assert (back.returncode, back.stderr) == (0, "")


@pytest.mark.thorough("each process of a crash test imports DBOS")
@pytest.mark.slow("kills a store")
def test_behind_the_switch_a_crash_test_kills_and_recovers(data_dir: Path) -> None:
    point = "*/*.reserve_inventory/effect/after"
    tried = subprocess.run(
        [sys.executable, "-m", "widget_store", "crash-test", "--scenario", "paid", "--point", point, "--json"],
        env=environment(WIDGET_STORE_DATA_DIR=str(data_dir), **ON),
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert [each["verdict"] for each in json.loads(tried.stdout)["points"]] == ["safe"]
