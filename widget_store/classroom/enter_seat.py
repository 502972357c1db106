"""Makes a process of the Hub's, which is root, a process of a seat: what it can reach from then on is the seat's.

Run as a program, in the seat's network and in a mount and an IPC namespace of its own. It imports nothing of the kit.
It puts itself into the seat's control groups, takes temporary folders that are the seat's alone, and becomes the
account.

Its first argument is JSON, and holds no secret: other accounts can read it. What follows is the program to run.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

_TEMPORARY = {"/tmp": ".tmp", "/var/tmp": ".var-tmp"}  # noqa: S108 - a folder in the home is put in its place


def main(seat: dict[str, Any], command: list[str]) -> None:
    """Become a process of the seat, and run the program in this one's place.

    Args:
        seat: `uid`, `gid`, `home`; `groups`, the folders of its control groups; `tasks`; `address_space` in bytes, or
            null.
        command: The program, with its arguments.
    """
    for group in seat["groups"]:
        Path(group, "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    _take_private_folders(Path(seat["home"]), seat["uid"], seat["gid"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (seat["tasks"], seat["tasks"]))
    if seat["address_space"] is not None:
        resource.setrlimit(resource.RLIMIT_AS, (seat["address_space"], seat["address_space"]))
    os.umask(0o077)
    os.chdir(seat["home"])
    account = (f"--reuid={seat['uid']}", f"--regid={seat['gid']}", "--clear-groups")
    rights = ("--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")
    os.execvp("setpriv", ["setpriv", *account, *rights, "--", *command])  # noqa: S606 - it takes this one's place


def _take_private_folders(home: Path, uid: int, gid: int) -> None:
    """Let the folders that all accounts share be the seat's own here, and let it see its own processes only."""
    for place, name in _TEMPORARY.items():
        _mount("--bind", str(_own_folder(home / name, uid, gid)), place)
    _mount("-t", "tmpfs", "-o", f"mode=0700,uid={uid},gid={gid},size=512m,nosuid,nodev", "seat", "/dev/shm")  # noqa: S108
    _mount("-t", "proc", "-o", "hidepid=2,nosuid,nodev,noexec", "proc", "/proc")


def _own_folder(place: Path, uid: int, gid: int) -> Path:
    """A folder in the home. The seat may have put a link there, to any place: then that is moved out of the way."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        place.unlink()
    place.mkdir(mode=0o700, exist_ok=True)
    os.chown(place, uid, gid, follow_symlinks=False)
    return place


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
