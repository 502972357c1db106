"""Where and how a store process can be made to die.

What a crash leaves behind is what was committed before it. So the *crash points* are the instants right before and
right after each commit that is made on behalf of a workflow or an HTTP call, on every engine of the process. DBOS's own
background work has none: it changes no workflow. A crash point has a name that is the same in every run:

    WORKFLOW/STEP/PHASE/SIDE            checkout_workflow/2.reserve_inventory/effect/after

    WORKFLOW  the workflow, by its function's name. What belongs to no workflow has who commits it: `http` an HTTP call,
              `call` the test, `launch` the launch, `queue` a queue, `recovery` the taking up of a dead process's
              workflows, `app` anything else; `unknown` is a commit of DBOS that this version of the kit does not know
    STEP      the step, by DBOS's number for it and its name; or `start`, `end`, `send` and the like
    PHASE     body        the inside of a step that is not a transaction
              effect      the step's own SQL (a transaction's: with the receipt that makes it exactly once)
              checkpoint  DBOS's record of the step: from here on, it does not run again
              status      DBOS's record of the workflow: started, ended, queued
              message     a message to a workflow
              cleanup     what is thrown away at the end
    SIDE      before, or after

A transaction's body needs no points of its own: before its effect is committed, all of it has run and nothing is kept.
What is reached again in one process has `#2`, `#3` and so on behind its name.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy import event

from widget_store import dbos_internals
from widget_store.crashtest import commits
from widget_store.crashtest.past_sqlalchemy import watch_drivers
from widget_store.system.processes import die

_UNCOMMITTED = "widget_store.uncommitted"
_COMMITTED = "widget_store.committed"


def fits(point: str, pattern: str) -> bool:
    """Whether a crash point is meant by a pattern. It is by its own name, also where that has a `[` or a `*` in it."""
    return point == pattern or fnmatchcase(point, pattern)


class CrashPoints:
    """Watches what a process commits, and ends it at the point that is armed. Make one a process.

    Args:
        armed: Die at the next point with this name; it may be a pattern with `*`. With `#2`, at the second one.
        tell: Called with the name of each point that is reached; also of the last one.
        otherwise: Who makes a commit that belongs to no workflow, where nobody has said so with `made_by`.
        strike: What happens at the armed point, instead of the end of the process.
    """

    def __init__(
        self,
        armed: str | None = None,
        tell: Callable[[str], None] | None = None,
        otherwise: str = "http",
        strike: Callable[[], None] = die,
    ) -> None:
        self.armed = armed
        self._tell = tell
        self._otherwise = otherwise
        self._strike = strike
        self._reached: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()

    def arm(self, pattern: str) -> None:
        """Die at the next point with this name, which may be a pattern with `*`.

        Raises:
            ValueError: When no crash point can have such a name.
        """
        if pattern.count("/") < 3 or not pattern.partition("#")[0].endswith(("/before", "/after", "*")):
            raise ValueError(
                f"{pattern!r} is not the name of a crash point. Names have the form WORKFLOW/STEP/PHASE/SIDE, "
                "as in checkout_workflow/*.create_order/effect/before"
            )
        self.armed = pattern

    def watch(self, system: sa.Engine) -> None:
        """Follow the commits of every engine of this process, also of those that are still to be made.

        Args:
            system: The engine of DBOS's system tables.
        """
        self._names = commits.Names(system, self._otherwise)
        event.listen(sa.Engine, "before_cursor_execute", self._before_statement)
        event.listen(sa.Engine, "after_cursor_execute", self._after_statement)
        event.listen(sa.Engine, "commit", self._before_commit)
        event.listen(sa.Engine, "rollback", self._forget)
        event.listen(sa.pool.Pool, "checkin", self._after_use)
        dbos_internals.around_transactions(lambda name: _set(commits.transaction, name))
        watch_drivers(self._commit_past_sqlalchemy)

    @staticmethod
    def made_by(caller: str) -> contextlib.AbstractContextManager[None]:
        """Say who makes the commits in this block that belong to no workflow."""
        return _set(commits.caller, caller)

    def watch_step_bodies(self) -> contextlib.AbstractContextManager[None]:
        """Give the steps that are defined meanwhile, with `@DBOS.step()`, crash points at both ends of their bodies.

        In a workflow whose steps come one after the other, a kill there finds no other state than one at the commit
        before. The points are there for those who want to see exactly that.
        """
        return dbos_internals.around_steps(self.around_body)

    @contextlib.contextmanager
    def around_body(self, step: str) -> Iterator[None]:
        """A crash point where the body of a step begins, and one where it ends, unless it raises."""
        if DBOS.step_id is None:  # called outside of a workflow: an ordinary function
            yield
            return
        with _set(commits.step_body, step):
            point = self._names.of_body()
            self._reach(point, "before")
            yield
            self._reach(point, "after")

    # --- the life of a transaction, as SQLAlchemy tells it

    def _before_statement(self, connection: sa.Connection, _cursor: Any, statement: str, *execution: Any) -> None:
        self._after_commit(connection.info)  # of the transaction before this one, on a connection that was kept
        if _commits_by_itself(connection):
            self._reach_if_named(self._name(connection, commits.writes(statement, *execution[:2])), "before")

    def _after_statement(self, connection: sa.Connection, _cursor: Any, statement: str, *execution: Any) -> None:
        written = commits.writes(statement, *execution[:2])
        if not _commits_by_itself(connection):
            connection.info.setdefault(_UNCOMMITTED, []).extend(written)
        else:
            self._reach_if_named(self._name(connection, written), "after")

    def _before_commit(self, connection: sa.Connection) -> None:
        if commit := self._name(connection, connection.info.pop(_UNCOMMITTED, [])):
            self._reach(commit, "before")
            connection.info[_COMMITTED] = commit

    def _after_commit(self, info: dict[str, Any]) -> None:
        self._reach_if_named(info.pop(_COMMITTED, None), "after")

    def _after_use(self, _dbapi_connection: Any, record: Any) -> None:
        """SQLAlchemy tells of a commit before it happens; that it has, we know when its connection is given back."""
        self._after_commit(record.info)

    def _forget(self, connection: sa.Connection) -> None:
        for note in (_UNCOMMITTED, _COMMITTED):  # a commit may fail, too
            connection.info.pop(note, None)

    def _name(self, connection: sa.Connection, written: list[commits.Write]) -> str | None:
        return self._names.of(written, connection.engine.pool)

    # --- and as the drivers tell it, of those who use them without SQLAlchemy

    @contextlib.contextmanager
    def _commit_past_sqlalchemy(self, statements: list[str]) -> Iterator[None]:
        written = [write for statement in statements for write in commits.writes(statement)]
        commit = self._names.of(written, None)
        self._reach_if_named(commit, "before")
        yield
        self._reach_if_named(commit, "after")

    def _reach_if_named(self, commit: str | None, side: str) -> None:
        if commit is not None:
            self._reach(commit, side)

    def _reach(self, commit: str, side: str) -> None:
        with self._one_at_a_time:
            point = f"{commit}/{side}"
            self._reached[point] += 1
            times = self._reached[point]
            name = point if times == 1 else f"{point}#{times}"
            if self._tell is not None:
                self._tell(name)
            if self.armed is not None and (name == self.armed or fits(point, self.armed)):
                self.armed = None  # once
                self._strike()


@contextlib.contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)


def _commits_by_itself(connection: sa.Connection) -> bool:
    """Whether each statement on this connection is a transaction of its own."""
    raw: Any = connection.connection.dbapi_connection
    return bool(raw.isolation_level is None if connection.dialect.name == "sqlite" else raw.autocommit)
