"""INSTRUCTORS.md, "The workshop in five commands", on a new Debian, with a learner in a real browser.

The machine is a folder with a small Debian in it, made for this test. Its Debian mirror and pip's configuration are
this machine's own.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page

from tests.browser.clicks import buy_crash_and_pay
from tests.browser.jupyter import REST, run_all
from tests.classroom.learners import PASSWORD, log_in, opened_lesson, storefront_of
from tests.classroom.rooms import BRIDGE
from tests.support import ROOT, eventually
from tests.tools.wheel import build_wheel

pytestmark = [
    pytest.mark.nightly("makes a new Debian, and installs the kit there"),
    pytest.mark.slow("makes a new Debian, and installs the kit there", weight=4),
    pytest.mark.browser,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a new Debian, and start a workshop"),
    pytest.mark.skipif(shutil.which("debootstrap") is None, reason="no debootstrap on this machine"),
]

SUITE = "trixie"
URL = "http://127.0.0.1:8000"
_MOUNTS = """
mount --rbind "$ROOT" "$ROOT"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$ROOT/dev/pts"
mount -t tmpfs tmpfs "$ROOT/run"
mount --rbind /sys "$ROOT/sys"
for place in $PLACES; do
  if [ -d "$place" ]; then mkdir -p "$ROOT$place"; else mkdir -p "${ROOT}${place%/*}" && touch "$ROOT$place"; fi
  mount --bind -o ro "$place" "$ROOT$place"
done
exec chroot "$ROOT" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -exc "$COMMANDS"
"""


def five_commands() -> list[str]:
    """The commands, as an instructor reads them."""
    section = (ROOT / "INSTRUCTORS.md").read_text().split("\n## The workshop in five commands\n", 1)[1]
    (block,) = re.findall(r"^```console\n(.*?)^```$", section.split("\n## ", 1)[0], re.MULTILINE | re.DOTALL)
    lines: list[str] = block.splitlines()
    return lines


@pytest.fixture(scope="module")
def debian() -> Iterator[Path]:
    """A new Debian in a folder."""
    asked = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
        "Label: Debian",
    ]
    mirrors = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    if not mirrors:
        pytest.skip("apt knows no Debian mirror on this machine")
    place = Path(tempfile.mkdtemp(prefix="five-commands-", dir="/var/tmp"))
    place.chmod(0o755)
    command = [
        "debootstrap",
        "--variant=minbase",
        "--include=sudo,ca-certificates",
        SUITE,
        str(place / "root"),
        mirrors[0],
    ]
    subprocess.run(command, check=True, capture_output=True)
    for file in ("/etc/hosts", "/etc/resolv.conf"):
        shutil.copy(file, place / "root" / file[1:])
    yield place / "root"
    shutil.rmtree(place)


def pip_settings() -> dict[str, str]:
    """What pip is told on this machine, by variables and by files."""
    listed = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = value.strip("'")
    return found


@contextlib.contextmanager
def running(root: Path, commands: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Commands in that Debian; the kernel ends all its processes and mounts with the block."""
    settings = pip_settings()
    lines = "".join(f"{name} = {' '.join(value.split(chr(92) + 'n'))}\n" for name, value in settings.items())
    (root / "etc" / "pip.conf").write_text(f"[global]\n{lines}")
    places = sorted({found for value in settings.values() for found in re.findall(r"(?:file://)?(/[^ '\\]+)", value)})
    there = [re.sub("/simple/*$", "", place) for place in places]
    variables = {"ROOT": str(root), "PLACES": " ".join(p for p in there if Path(p).exists()), "COMMANDS": commands}
    within = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", f"--mount-proc={root / 'proc'}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*within, "bash", "-euc", _MOUNTS], env=os.environ | variables, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_five_commands_end_with_a_learner_who_has_bought_crashed_and_paid(
    debian: Path, page: Page, tmp_path: Path
) -> None:
    if BRIDGE.exists() or _answers():
        pytest.skip("a workshop runs on this machine, or something at its address")
    wheel = build_wheel(tmp_path)
    shutil.copy(wheel, debian / "root" / wheel.name)
    install, make, fetch, start, stop = five_commands()
    named = fetch.replace('"widget-store[workshop]"', f'"/root/{wheel.name}[workshop]"')
    assert named != fetch
    go_on, log = debian / "go-on", tmp_path / "log"
    os.mkfifo(go_on)
    script = f"""
        sudo apt-get update
        {install}
        {make}
        {named}
        ({start.replace("--seats 12", "--seats 3")} || [ $? = 130 ] || echo failed > /go-on) &
        read -r word < /go-on
        [ "$word" = stop ]
        {stop}
        wait
    """
    begun = time.monotonic()
    with running(debian, script, log) as machine:
        deadline = begun + 300
        while not _answers():
            assert machine.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.2)
        word = (debian / "var/lib/widget-store-workshop/class-word").read_text().strip()
        log_in(page, URL, "seat-01", PASSWORD, word)
        buy_crash_and_pay(page, opened_lesson(page, "seat-01"))
        storefront_of(page, "seat-01").close()
        run_all(page, REST)
        print(f"from the first command to the end of lesson 00: {time.monotonic() - begun:.0f} s")
        go_on.write_text("stop\n")
        eventually(lambda: machine.poll() is not None, "the end of the fifth command")
        assert machine.returncode == 0, log.read_text()[-4000:]
    assert not BRIDGE.exists()


def _answers() -> bool:
    try:
        return httpx.get(f"{URL}/hub/health").is_success
    except httpx.TransportError:
        return False
