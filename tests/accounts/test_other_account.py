"""Another account of the same machine: it gets at nothing of a learner's store, whatever it tries.

Two real accounts: the learner's, which runs a store as a notebook does, and another one, which is told all that it
could find out. Each way in `ways.py` is tried under both: under the learner's it succeeds, so it is a real try.
"""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.accounts import ways
from tests.accounts.victim import SECRET
from tests.machines.test_hostile_machines import install, packages, python
from tests.support import PATIENCE_SECONDS, environment, eventually, lives, new_key
from widget_store.databases import has_embedded_postgres

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="these ways are Linux's"),
    pytest.mark.skipif(
        sys.platform == "linux" and os.geteuid() != 0, reason="only root can make two accounts, and become them"
    ),
    pytest.mark.slow("starts a store under an account of its own, and tries every way to get at it", weight=4),
]

HERE = Path(__file__).parent
MACHINES = {  # in capitals: on every machine this is tried with every change, not only in CI
    "PostgreSQL, short path": (None, "data"),
    "PostgreSQL, long path": (None, "/".join(["l" * 60] * 3)),
    "SQLite, short path": ("sqlite:///store.sqlite", "data"),
    "SQLite, long path": ("sqlite:///store.sqlite", "/".join(["l" * 60] * 3)),
}
ONLY_POSTGRESQL = {
    "connect_to_a_unix_socket",
    "log_in_to_postgresql_without_a_password",
    "log_in_to_postgresql_as_its_superuser",
    "attach_its_shared_memory",
}
ONLY_SQLITE = {"open_an_sqlite_file_as_a_database"}
OPEN = {"see_the_arguments_of_its_processes"}
"""What other accounts may do: it shows that the look for secrets in the same place looks at something."""
CLOSED_TO_ALL = {
    "crash_over_http_without_a_token",
    "find_postgresql_on_a_tcp_port",
    "find_a_secret_in_the_list_of_processes",
    "find_a_secret_over_http",
    "bind_the_port_while_the_store_serves",
}
"""What the learner's own account can't do either. Each of these makes sure by itself that there is something to try."""
KILLS = 5
LOCK_OF_THE_WHEEL = Path("/tmp/.lockfile")  # noqa: S108 - which the database's wheel shares between all accounts


@dataclass(frozen=True)
class Account:
    """An account of this machine."""

    uid: int

    def start(self, *command: str | Path, cwd: Path = Path("/"), **variables: str) -> "subprocess.Popen[str]":
        """Start a program of Python under this account. What is on its standard error is shown by the test."""
        return subprocess.Popen(
            ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", python(), *command],
            cwd=cwd,
            env=environment(**variables),
            umask=0o022,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def try_ways(self, told: dict[str, Any], *names: str) -> dict[str, tuple[bool | None, str]]:
        """What comes of each way."""
        trial = self.start("-I", "-c", _WITH_PSYCOPG, str(HERE / "ways.py"), *packages(), "--", *names)
        said, _ = trial.communicate(json.dumps(told), timeout=2 * PATIENCE_SECONDS)
        return {name: (bool(ok) if ok is not None else None, words) for name, (ok, words) in json.loads(said).items()}

    def processes(self) -> list[psutil.Process]:
        """All that run under it."""
        every = psutil.process_iter(["uids"])
        return [process for process in every if process.info["uids"] and process.info["uids"].real == self.uid]

    def end(self) -> None:
        """Kill all that run under it. It is the test's own account, so nothing else does."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        eventually(lambda: not [each for each in self.processes() if lives(each)], "the end of an account's processes")


_WITH_PSYCOPG = (
    "import runpy, sys; file, *more = sys.argv[1:]; cut = more.index('--');"
    " sys.path += more[:cut]; sys.argv = [file, *more[cut + 1:]]; runpy.run_path(file, run_name='__main__')"
)


@contextlib.contextmanager
def account() -> Iterator[Account]:
    """A new account, removed with all it has in shared folders; a bare number where none can be made."""
    name = f"ws-{new_key()[:8]}"
    made = None
    if shutil.which("useradd") and shutil.which("userdel"):
        made = subprocess.run(
            ["useradd", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            check=False,
        )
    if made is not None and made.returncode == 0:
        import pwd

        new = Account(pwd.getpwnam(name).pw_uid)
    else:
        taken = {process.info["uids"].real for process in psutil.process_iter(["uids"]) if process.info["uids"]}
        new = Account(next(uid for uid in range(54_000, 55_000) if uid not in taken))
    try:
        yield new
    finally:
        new.end()
        for place in left_in_shared_folders(new):
            shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink(missing_ok=True)
        if made is not None and made.returncode == 0:
            subprocess.run(["userdel", name], capture_output=True, check=False)


def left_in_shared_folders(owner: Account) -> list[Path]:
    """What an account has directly in the folders that all accounts share."""
    return [place for folder in ways.SHARED for place in folder.iterdir() if _owner_of(place) == owner.uid]


def _owner_of(place: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return place.lstat().st_uid
    return None


@pytest.fixture(scope="module")
def kit(public_folder: Path) -> Path:
    """A copy of the kit that every account can read."""
    folder = public_folder / f"kit-{new_key()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    made = install(folder / "kit")
    shutil.copytree(HERE, made / "tests" / "accounts", ignore=shutil.ignore_patterns("__pycache__"))
    return made


@pytest.fixture(scope="module")
def learner() -> Iterator[Account]:
    with account() as made:
        yield made


@pytest.fixture(scope="module")
def other() -> Iterator[Account]:
    with account() as made:
        yield made


class Victim:
    """A learner's kernel with a store."""

    def __init__(self, learner: Account, kit: Path, home: Path, url: str | None) -> None:
        self.learner = learner
        self.data = home
        variables = {} if url is None else {"WIDGET_STORE_DATABASE_URL": url}
        self.process = learner.start(
            *("-P", kit / "tests" / "accounts" / "victim.py"),
            cwd=kit,
            PYTHONPATH=os.pathsep.join([str(kit), *packages()]),
            WIDGET_STORE_DATA_DIR=str(home),
            HOME=str(home.parent),
            **variables,
        )
        assert self._answer() == "ready"
        self.about = self.does("about")

    def does(self, *command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the learner's kernel has ended: {self.process.wait(PATIENCE_SECONDS)}"
        return json.loads(line)

    @property
    def secrets(self) -> list[str]:
        passwords = [line.rpartition(":")[2] for line in self.about["passwords"]]
        return [self.about["token"], SECRET, *passwords]

    @property
    def port(self) -> int:
        return int(self.about["url"].rpartition(":")[2])

    def told(self, *, with_secrets: bool) -> dict[str, Any]:
        """What whoever tries is told: all that there is to find out."""
        left = left_in_shared_folders(self.learner)
        return {
            "port": self.port,
            "uid": self.learner.uid,
            "pids": [process.pid for process in self.learner.processes() if lives(process)],
            "data": str(self.data),
            "files": [str(file) for file in self.data.rglob("*") if file.is_file()],
            "sockets": self.about["sockets"],
            "left": [str(place) for place in left],
            "needles": self.secrets,
            "token": self.about["token"] if with_secrets else "",
            "signature": self.about["signature"] if with_secrets else "",
        }

    def close(self) -> None:
        if self.process.poll() is None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(PATIENCE_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="module", params=list(MACHINES.values()), ids=list(MACHINES))
def victim(request: pytest.FixtureRequest, public_folder: Path, kit: Path, learner: Account) -> Iterator[Victim]:
    with victim_on(request.param, public_folder, kit, learner) as started:
        yield started


@contextlib.contextmanager
def victim_on(machine: tuple[str | None, str], folder: Path, kit: Path, learner: Account) -> Iterator[Victim]:
    """A learner's kernel; what is above its data folder is open to all, so that it is the kit that closes the door."""
    url, path = machine
    if url is None and not has_embedded_postgres():
        pytest.skip("no embedded PostgreSQL on this platform")
    home = folder / new_key() / path
    home.parent.mkdir(parents=True)
    for above in home.parents:
        if above == folder:
            break
        above.chmod(0o755)
        os.chown(above, learner.uid, learner.uid)
    if subprocess.run(
        [
            "setpriv",
            f"--reuid={learner.uid}",
            f"--regid={learner.uid}",
            "--clear-groups",
            python(),
            "-c",
            "import dbos",
        ],
        env=environment(PYTHONPATH=os.pathsep.join(packages())),
        cwd="/",
        capture_output=True,
        check=False,
    ).returncode:
        pytest.skip("this Python, or its packages, are in a folder that other accounts can't enter")
    started = Victim(learner, kit, home, url)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def tried(victim: Victim, learner: Account, other: Account) -> dict[str, dict[str, tuple[bool | None, str]]]:
    """What came of each way, under the learner's own account and under another one."""
    return {
        "other": other.try_ways(victim.told(with_secrets=False)),
        "own": learner.try_ways(victim.told(with_secrets=True), *sorted(set(ways.WAYS) - CLOSED_TO_ALL)),
    }


def test_there_are_as_many_ways_as_are_told() -> None:
    assert len(ways.WAYS) - len(OPEN) >= 25


@pytest.mark.parametrize("name", ways.WAYS)
def test_another_account_gets_nowhere(
    victim: Victim, tried: dict[str, dict[str, tuple[bool | None, str]]], name: str
) -> None:
    is_postgresql = bool(victim.about["sockets"])
    if name in (ONLY_SQLITE if is_postgresql else ONLY_POSTGRESQL):
        pytest.skip("there is no such thing with this database")
    succeeded, words = tried["other"][name]
    assert succeeded is (name in OPEN), f"{name}: {words}"
    if name not in CLOSED_TO_ALL:
        succeeded, words = tried["own"][name]
        assert succeeded is True, f"no real try: {name} fails under the learner's own account: {words}"


def test_all_that_the_store_has_is_closed_by_its_modes(victim: Victim) -> None:
    for place in [victim.data, *victim.data.rglob("*"), *left_in_shared_folders(victim.learner)]:
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(place.lstat().st_mode)
            inside = place != victim.data and victim.data in place.parents  # behind a closed door, PostgreSQL's own do
            assert not mode & 0o077 or inside, f"{place} has mode {mode:o}"
            assert not mode & 0o077 or not place.name.startswith(("store", "postgres.")), f"{place} has mode {mode:o}"


def test_no_secret_is_in_a_log_or_a_repr(victim: Victim) -> None:
    logs = [file for file in victim.data.rglob("log*") if file.is_file()]
    said = victim.does("about")["said"] + "".join(file.read_text(errors="replace") for file in logs)
    assert "Store(running)" in said
    assert [secret for secret in victim.secrets if secret in said] == []


def test_the_store_is_an_ordinary_role_and_the_superuser_is_for_upkeep(victim: Victim) -> None:
    if victim.about["role"] is None:
        pytest.skip("SQLite has no roles")
    powers = {name: has for name, has in victim.about["role"].items() if name != "name"}
    assert set(powers.values()) == {False}, powers
    assert victim.about["upkeep"]["super"] is True
    assert victim.about["upkeep"]["name"] != victim.about["role"]["name"]


def test_the_port_is_not_free_in_the_instant_of_a_death_and_no_false_answer_kills(
    victim: Victim, learner: Account, other: Account
) -> None:
    bystander = learner.start("-I", "-c", "import sys; sys.stdin.read()")
    with bystander, other.start("-I", HERE / "ways.py", "race", str(victim.port), str(bystander.pid)) as racer:
        assert racer.stdout is not None
        assert racer.stdin is not None
        assert racer.stdout.readline() == "races\n"
        for _ in range(KILLS):
            assert victim.does("crash") is True
        racer.stdin.close()
        assert racer.stdout.readline().startswith("not bound in ")
        assert bystander.poll() is None
    assert victim.does("deaths") >= KILLS


def test_a_process_that_an_answer_names_is_not_killed(
    public_folder: Path, kit: Path, learner: Account, other: Account
) -> None:
    bystander = learner.start("-I", "-c", "import sys; sys.stdin.read()")
    with (
        bystander,
        victim_on(MACHINES["SQLite, short path"], public_folder, kit, learner) as misled,
        other.start("-I", HERE / "ways.py", "serve", str(bystander.pid)) as false,
    ):
        assert false.stdout is not None
        false_url = f"http://127.0.0.1:{false.stdout.readline().strip()}"
        assert "is not this store" in misled.does("crash what is named at", false_url)
        assert bystander.poll() is None


def test_who_waits_for_the_port_gets_it_when_the_store_has_ended(
    public_folder: Path, kit: Path, learner: Account, other: Account
) -> None:
    """The race above is a real one."""
    with (
        victim_on(MACHINES["SQLite, short path"], public_folder, kit, learner) as ending,
        other.start("-I", HERE / "ways.py", "race", str(ending.port), "1") as racer,
    ):
        assert racer.stdout is not None
        assert racer.stdout.readline() == "races\n"
        ending.close()
        assert racer.stdout.readline().startswith("bound: ")
        racer.kill()


@pytest.mark.parametrize("machine", list(MACHINES.values()), ids=list(MACHINES))
def test_what_is_laid_or_locked_under_the_names_of_last_time_stops_no_start(
    public_folder: Path, kit: Path, learner: Account, other: Account, machine: tuple[str | None, str]
) -> None:
    """Links to a file of the learner's, at all names that an attacker can know; and locks, also that of a wheel."""
    with victim_on(machine, public_folder, kit, learner) as first:
        names = list(left_in_shared_folders(learner))
    treasure = public_folder / new_key()
    treasure.write_text("the learner's own")
    os.chown(treasure, learner.uid, learner.uid)
    treasure.chmod(0o600)
    guesses = [
        folder / name for folder in ways.SHARED for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock", ".widget_store")
    ]
    laid = [place for place in [*names, *guesses] if place != LOCK_OF_THE_WHEEL and not os.path.lexists(place)]
    assert laid
    lay = "import os, sys; treasure, *places = sys.argv[1:]; [os.symlink(treasure, place) for place in places]"
    with other.start("-I", "-c", lay, treasure, *laid) as done:
        assert done.wait(PATIENCE_SECONDS) == 0
    hold = (
        "import fcntl, os, sys; place = sys.argv[1]; os.path.exists(place) or open(place, 'w').close();"
        " file = open(place); fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    try:
        with other.start("-I", "-c", hold, LOCK_OF_THE_WHEEL) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            again = Victim(learner, kit, first.data, machine[0])
            try:
                assert again.does("buy", "after-the-links") == "after-the-links"
                assert again.does("crash")
            finally:
                again.close()
    finally:
        for place in laid:
            assert place.is_symlink()
            place.unlink()
    assert treasure.read_text() == "the learner's own"


@pytest.mark.parametrize("machine", list(MACHINES.values()), ids=list(MACHINES))
def test_what_a_killed_run_leaves_is_closed(
    public_folder: Path, kit: Path, learner: Account, other: Account, machine: tuple[str | None, str]
) -> None:
    of_files: Callable[[str], bool] = lambda name: any(word in name for word in ("read_", "list_", "write_", "leave_"))  # noqa: E731
    names = [name for name in ways.WAYS if of_files(name) and "process" not in name]
    assert len(names) >= 7
    with victim_on(machine, public_folder, kit, learner) as killed:
        killed.does("buy", "left-behind")
        for process in learner.processes():
            process.send_signal(signal.SIGKILL)
        killed.process.wait(PATIENCE_SECONDS)
        learner.end()
        told = killed.told(with_secrets=False)
        if not told["left"]:
            names.remove("read_what_lies_in_shared_folders")
        by_other, by_learner = (who.try_ways(told, *names) for who in (other, learner))
    assert {name: words for name, (succeeded, words) in by_other.items() if succeeded is not False} == {}
    assert {name: words for name, (succeeded, words) in by_learner.items() if succeeded is not True} == {}
