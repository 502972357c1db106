"""Programs of the system that a workshop is made with, run with argument lists."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from widget_store.errors import WorkshopUnavailable

_WITHIN_SECONDS = 120
PACKAGES = {
    "ip": "iproute2",
    "useradd": "passwd",
    "userdel": "passwd",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "configurable-http-proxy": "node-configurable-http-proxy",
}
"""Which package of Debian and Ubuntu has each program."""


def check_programs() -> None:
    """Make sure that all programs are there.

    Raises:
        WorkshopUnavailable: When one is not; it names the packages.
    """
    if missing := [name for name in PACKAGES if found(name) is None]:
        packages = " ".join(sorted({PACKAGES[name] for name in missing}))
        raise WorkshopUnavailable(
            f"This machine lacks {', '.join(missing)}.\nOn Debian and Ubuntu: apt install {packages}"
        )


def found(name: str) -> str | None:
    """Where a program is: on the path, or where the system keeps what is for root."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")


def run(name: str, *words: str | Path, text: str = "", env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end, and return what it printed.

    Raises:
        WorkshopUnavailable: When it fails, in its own words.
    """
    done = subprocess.run(
        [found(name) or name, *words],
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        env=env,
        timeout=_WITHIN_SECONDS,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"it ended with status {done.returncode}"
        raise WorkshopUnavailable(f"{name} {' '.join(map(str, words[:3]))} … failed: {said}")
    return done.stdout
