"""Environments that lack something: each command ends with one sentence that says what, and leaves nothing behind.

A row of the table is one environment. Root makes it, in namespaces and control groups of its own, and an ordinary
account works in it, with its own `/tmp` and `/dev/shm`.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.machines.test_hostile_machines import install, packages, python, quiet_accounts
from tests.support import environment, eventually, lives, new_key
from widget_store.databases import has_embedded_postgres
from widget_store.databases.embedded import embedded_postgres

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="these environments are made with Linux's means"),
    pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="only root can make these environments"),
    pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL on this platform"),
    pytest.mark.thorough("some sixty commands, a second or two each"),
    pytest.mark.slow("a copy of the kit, and a command that starts a database"),
]

HERE = "/mnt"
"""Where a command sees the folder that it works in: not in `/tmp`, which is made anew for it."""
ENDS_WITHIN_SECONDS = 30
"""A command that waits silently is a failure. On a quiet machine each ends within four seconds."""
CGROUPS = Path("/sys/fs/cgroup")
COMMANDS = {
    "serve": ["-m", "widget_store", "serve", "--port", "0"],
    "reset": ["-m", "widget_store", "reset"],
    "doctor": ["-m", "widget_store", "doctor"],
    "crash-test": ["-m", "widget_store", "crash-test", "--jobs", "2", "--scenario", "paid", "--point", "*paid*"],
    "Store.fresh": [f"{HERE}/fresh.py"],
}
FRESH = """
from widget_store.errors import WidgetStoreError
from widget_store.lab.store import Store
try:
    with Store.fresh(dispatch_interval=0) as store:
        store.wait_until_dispatched(store.pay(store.buy()))
except WidgetStoreError as error:
    print(error)
    raise SystemExit(1)
"""


@dataclass(frozen=True)
class Shortage:
    """What an environment lacks.

    Attributes:
        told: What each of the commands must say.
        commands: Those that can't do their work there.
        mounts: What root runs before, in a mount namespace of its own.
        limits: Arguments of `prlimit`.
        cgroup: A control group's controller, and its limit.
        variables: Of the person's shell.
    """

    told: str
    commands: tuple[str, ...]
    mounts: str = ""
    limits: str = ""
    cgroup: tuple[str, int] | None = None
    variables: dict[str, str] = field(default_factory=dict)


ALL = tuple(COMMANDS)
ON_DATA = ("serve", "reset", "doctor", "Store.fresh")
SQLITE = {"WIDGET_STORE_DATABASE_URL": "sqlite:///store.sqlite"}
NOWHERE = "; ".join(f"mount -t tmpfs -o ro tmpfs {place}" for place in ("/tmp", "/var/tmp", "/dev/shm", "$HERE/here"))  # noqa: S108


def on(place: str, options: str) -> str:
    """A file system of that folder's own."""
    return f"mount -t tmpfs -o mode=1777,{options} tmpfs {place}"


SHORTAGES = {
    "a full disk": Shortage("no space left", ON_DATA, on("$HERE/data", "size=20m")),
    "a disk that is full when the tables come": Shortage("no space left", ON_DATA, on("$HERE/data", "size=46m")),
    "no inode": Shortage("no space left", ON_DATA, on("$HERE/data", "nr_inodes=200")),
    "a data folder that may only be read": Shortage("can't be used", ON_DATA, on("$HERE/data", "ro")),
    "a full disk, and SQLite": Shortage(
        "no space left", ("serve", "Store.fresh"), on("$HERE/data", "size=64k"), variables=SQLITE
    ),
    "a full /tmp": Shortage("no space left", ("crash-test",), on("/tmp", "size=20m")),  # noqa: S108
    "a /tmp that a crash test fills": Shortage("no space left", ("crash-test",), on("/tmp", "size=90m")),  # noqa: S108
    "no place for temporary files": Shortage("temporary", ("crash-test",), NOWHERE),
    "ten processes": Shortage("no more processes", ALL, limits="--nproc=10"),
    "sixty processes": Shortage("no more processes", ("crash-test",), limits="--nproc=60"),
    "600 MB of address space": Shortage(
        "not enough memory", ("serve", "crash-test", "Store.fresh"), limits="--as=614400000"
    ),
    "200 MB of address space": Shortage("not enough memory", ("serve", "reset", "crash-test"), limits="--as=200000000"),
    "twenty open files": Shortage("open no more files", ALL, limits="--nofile=20"),
    "twelve open files": Shortage("open no more files", ALL, limits="--nofile=12"),
    "small files": Shortage("no files as large", ALL, limits="--fsize=1024000"),
    "a small stack": Shortage("too small a stack", ALL, limits="--stack=262144"),
    "a container with 300 MB": Shortage(
        "not enough memory", ("crash-test", "Store.fresh"), cgroup=("memory", 300_000_000)
    ),
    "a container with 100 MB": Shortage("not enough memory", ("serve", "reset"), cgroup=("memory", 100_000_000)),
    "a container with twelve processes": Shortage("no more processes", ALL, cgroup=("pids", 12)),
}


@dataclass
class Place:
    """Where the commands run: a copy of the kit, a data folder, and a folder to be in."""

    home: Path
    mark: str
    account: int | None
    has_own_tmp: bool = True

    def run(self, name: str, shortage: Shortage) -> "subprocess.CompletedProcess[str]":
        """Run a command in the environment of a row, to its end."""
        made_anew = [f"mount --bind {shlex.quote(str(self.home))} {HERE}"]
        made_anew += [f"mount --bind {shlex.quote(folder)} {seen}" for folder, seen in self.installed().items()]
        if self.has_own_tmp:
            made_anew += [on("/tmp", "size=1g"), on("/dev/shm", "size=64k")]  # noqa: S108
        mounts = shortage.mounts.replace("$HERE", HERE) or ":"
        before = ["mount --make-rprivate /", *made_anew, mounts, f"cd {HERE}/here"]
        account = (
            ["setpriv", f"--reuid={self.account}", f"--regid={self.account}", "--clear-groups"] if self.account else []
        )
        command = shlex.join([*account, "prlimit", *shortage.limits.split(), python(), *COMMANDS[name]])
        looked_in = f"{HERE}/here {HERE}/data/postgres.new-*" + (" /tmp /dev/shm" if self.has_own_tmp else "")
        leftovers = f"find {looked_in} -mindepth 1 -maxdepth 1 > {HERE}/leftovers 2>/dev/null"
        script = "\n".join(["set -e", *before, "set +e", command, "status=$?", leftovers, "exit $status"])
        with in_cgroup(shortage.cgroup) as enter:
            started = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", enter + script],
                env=self.variables() | shortage.variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                said, _ = started.communicate(timeout=ENDS_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                for process in self.processes():
                    process.kill()
                said, _ = started.communicate()
                pytest.fail(f"it did not end within {ENDS_WITHIN_SECONDS} s, and said: {said or 'nothing'}")
            eventually(lambda: not self.processes(), "the end of all its processes")
        return subprocess.CompletedProcess(command, started.returncode, said, "")

    def installed(self) -> dict[str, str]:
        """Where the folders of what is installed are seen, Jupyter's last: they may be below `/tmp`, too."""
        folders = [*packages(), str(Path(sys.prefix) / "share" / "jupyter")]
        return {folder: f"{HERE}/installed-{number}" for number, folder in enumerate(folders)}

    def variables(self) -> dict[str, str]:
        *seen, jupyter = self.installed().values()
        path = os.pathsep.join([f"{HERE}/kit", *seen])
        found = environment(
            PYTHONPATH=path, HOME=f"{HERE}/home", WIDGET_STORE_DATA_DIR=f"{HERE}/data", OF_THIS=self.mark
        )
        return found | {"JUPYTER_PATH": jupyter, "PYTHONDONTWRITEBYTECODE": "1"}

    def processes(self) -> list[psutil.Process]:
        """Those that a command has started and not ended; a database's, too."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if (process.environ().get("OF_THIS") == self.mark or f"{HERE}/data" in words) and lives(process):
                    found.append(process)
        return found

    def leftovers(self) -> list[str]:
        return (self.home / "leftovers").read_text().splitlines()


@contextlib.contextmanager
def in_cgroup(wanted: tuple[str, int] | None) -> Iterator[str]:
    """A control group with that limit, in either version of them; what a shell does to enter it."""
    if wanted is None:
        yield ""
        return
    controller, limit = wanted
    is_first_version = (CGROUPS / controller).is_dir()
    group = (CGROUPS / controller if is_first_version else CGROUPS) / f"starved-{new_key()}"
    name = {"memory": "memory.limit_in_bytes" if is_first_version else "memory.max", "pids": "pids.max"}[controller]
    try:
        group.mkdir()
        (group / name).write_text(str(limit))
    except OSError as failure:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group can be made here: {failure}")
    try:
        yield f"echo $$ > {group}/cgroup.procs\n"
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text(), "the end of all in the control group")
        group.rmdir()


@pytest.fixture
def place(public_folder: Path) -> Iterator[Place]:
    home = public_folder / new_key()
    account = quiet_accounts(1)[0]
    install(home / "kit")
    (home / "fresh.py").write_text(FRESH)
    for name in ("data", "here", "home"):
        (home / name).mkdir()
        os.chown(home / name, account, account)
    home.chmod(0o755)
    made = Place(home, new_key(), account)
    for seen in made.installed().values():
        (home / Path(seen).name).mkdir()
    trial = subprocess.run(
        ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", python(), "-c", "import dbos"],
        env=made.variables() | {"PYTHONPATH": os.pathsep.join([str(home / "kit"), *packages()])},
        cwd="/",
        capture_output=True,
        check=False,
    )
    if trial.returncode or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("other accounts can't use this Python or its packages, or nothing can be mounted here")
    yield made
    shutil.rmtree(home, ignore_errors=True)


def check(place: Place, name: str, shortage: Shortage) -> None:
    done = place.run(name, shortage)
    assert shortage.told in done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    assert done.returncode == 1, done.stdout
    assert place.leftovers() == []


@pytest.mark.parametrize(
    ("name", "shortage"),
    [
        pytest.param(name, row, id=f"{what}-{name}", marks=[pytest.mark.nightly("one more command")] if which else [])
        for what, row in SHORTAGES.items()
        for which, name in enumerate(row.commands)
    ],
)
def test_what_is_short_is_told_in_a_sentence_and_nothing_is_left_behind(
    place: Place, name: str, shortage: Shortage
) -> None:
    check(place, name, shortage)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "serve"])  # which has no end of its own
def test_in_such_an_environment_that_lacks_nothing_each_command_does_its_work(place: Place, name: str) -> None:
    done = place.run(name, Shortage("", ()))
    assert done.returncode == 0, done.stdout
    assert place.leftovers() == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_server_with_no_connection_left_is_told(place: Place, name: str) -> None:
    with embedded_postgres(place.home / "server", hurry=True) as server, contextlib.ExitStack() as clients:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                clients.enter_context(server.connect())
        password = make_url(server.url)
        words = Path(str(password.query["passfile"])).read_text(encoding="utf-8").splitlines()
        secret = next(line.rpartition(":")[2] for line in words if f":{password.username}:" in line)
        url = password.set(password=secret).difference_update_query(["passfile"]).render_as_string(hide_password=False)
        place.account, place.has_own_tmp = None, False  # the socket may be in /tmp
        check(place, name, Shortage("no connection left", (), variables={"WIDGET_STORE_DATABASE_URL": url}))
