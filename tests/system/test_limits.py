"""What a machine has is read from its limits, and what it lacks is recognised in the words of whoever failed."""

import errno
import os
from pathlib import Path

import psycopg
import pytest

from widget_store.errors import Starved
from widget_store.system import limits


def caused_by(cause: Exception) -> Exception:
    failure = RuntimeError("it failed")
    failure.__cause__ = cause
    return failure


FAILURES = {
    "a full disk": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space left"),
    "a full disk of PostgreSQL's": (psycopg.errors.DiskFull("could not extend file"), "no space left"),
    "a full disk, as a cause": (caused_by(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))), "no space left"),
    "no process": (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "no more processes"),
    "no thread": (RuntimeError("can't start new thread"), "no more processes"),
    "no memory": (MemoryError(), "not enough memory"),
    "no memory for a process": (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "not enough memory"),
    "no file": (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "open no more files"),
    "no connection": (psycopg.OperationalError("FATAL:  sorry, too many clients already"), "no connection left"),
}


@pytest.mark.parametrize(("failure", "told"), FAILURES.values(), ids=FAILURES)
def test_what_is_lacking_is_recognised_whoever_says_it(failure: Exception, told: str) -> None:
    starved = limits.lack(failure)
    assert starved is not None
    assert told in str(starved)


def test_the_reason_is_told_also_behind_a_long_path() -> None:
    failure = psycopg.OperationalError(f'connection at "{"/long" * 200}" failed: too many connections for role "anna"')
    assert "too many connections" in str(limits.lack(failure))


def test_a_failure_that_comes_from_itself_is_told_once() -> None:
    first, second = ValueError("no stock"), ValueError("no money")
    first.__cause__, second.__cause__ = second, first
    assert limits.lack(first) is None


def test_another_failure_is_no_lack() -> None:
    assert limits.lack(ValueError("a wrong price")) is None
    assert limits.lack(caused_by(KeyError("memory"))) is None


@pytest.mark.parametrize(
    ("line", "place"),
    [("0::/user/ana", "user/ana"), ("4:memory:/user/ana", "memory/user/ana"), ("0::/user/ana", "user")],
    ids=["version 2", "version 1", "an outer group"],
)
def test_the_limit_of_a_control_group_is_read_in_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, place: str
) -> None:
    groups = tmp_path / "groups"
    for folder in (groups / "user/ana", groups / "memory/user/ana"):
        folder.mkdir(parents=True)
    (groups / place / "memory.max").write_text("300\n")
    (groups / place / "memory.current").write_text("200\n")
    (tmp_path / "cgroup").write_text(f"9:name=systemd:/\n{line}\n")
    monkeypatch.setattr(limits, "_OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "_CGROUPS", groups)
    assert limits.memory_limit() == 300


def test_too_low_a_limit_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory_limit", lambda: limits.LESSON.memory - 1)
    with pytest.raises(Starved, match="a store in a notebook needs 355 MB"):
        limits.require(limits.LESSON)


def test_where_no_limit_is_set_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("memory_limit", "tasks_left"):
        monkeypatch.setattr(limits, limit, lambda: None)
    monkeypatch.setattr(limits, "_resource_limit", lambda _name: None)
    limits.require(limits.COURSE)
