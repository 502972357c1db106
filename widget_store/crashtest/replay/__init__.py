"""A gate before a release: workflows that an older version has stored are replayed with the new code, without effects.

Each gets its recorded answers, up to its last checkpoint. The first step that differs is told. Whoever releases the
new code anyway finds such a workflow broken when it recovers.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from widget_store import errors
from widget_store.crashtest.replay.difference import Difference
from widget_store.crashtest.replay.process import ANSWERS, Order
from widget_store.databases.throwaway import roomy_memory
from widget_store.plain_text import in_a_line, plain
from widget_store.system.interrupts import OUT_OF_REACH

DATABASE = "DBOS_SYSTEM_DATABASE_URL"
"""The environment variable that names DBOS's system database, when nothing else does."""
_LAST_WORDS = 2_000  # characters of standard error


class NoDatabaseNamed(errors.DatabaseUnavailable):
    """Neither the caller nor the application names a database."""


@dataclass(frozen=True)
class ReplayedWorkflow:
    """A stored workflow, and what came of its replay.

    Attributes:
        status: As it is stored, such as `PENDING`.
        steps: How many checkpoints it has.
        compared: How many of them the new code asked for, too. Some steps that ran side by side may be left.
        difference: The first one; None when the new code does the same.
    """

    name: str
    workflow_id: str
    status: str
    steps: int
    compared: int
    difference: Difference | None


@dataclass(frozen=True)
class ReplayReport:
    """What came of a replay.

    Attributes:
        workflows: Those replayed.
        left_out: How many more there are than the limit.
        seconds: How long it took.
    """

    workflows: tuple[ReplayedWorkflow, ...]
    left_out: int
    seconds: float

    @property
    def differences(self) -> tuple[ReplayedWorkflow, ...]:
        """The workflows that the new code does not go on with as they began."""
        return tuple(each for each in self.workflows if each.difference is not None)

    @property
    def same(self) -> bool:
        """Whether the new code may be released; False also when there was nothing to compare."""
        return bool(self.workflows) and not self.differences

    def lines(self) -> Iterator[str]:
        """The report for people: a line for each difference, and a summary."""
        for each in self.differences:
            yield f"DIFFERENT  {in_a_line(each.name)} {in_a_line(each.workflow_id)} ({each.status}): {each.difference}"
        steps = sum(each.compared for each in self.workflows)
        replayed, different = len(self.workflows), len(self.differences)
        more = f"; {self.left_out} more are beyond the limit" if self.left_out else ""
        if aside := sum(each.steps - each.compared for each in self.workflows if each.difference is None):
            which = "1 step, which ran beside one that had not ended, was"
            more += f"; {which if aside == 1 else f'{aside} steps, which ran beside others that had not ended, were'}"
            more += " not compared"
        yield (
            f"{replayed} workflow{'' if replayed == 1 else 's'} replayed, {steps} steps: "
            f"{replayed - different} the same, {different} different{more} ({self.seconds:.1f} s)"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        return asdict(self)


def replay(  # noqa: PLR0913 - all but the first have names, and what most people want as a default
    app: str | Path,
    *,
    database_url: str | None = None,
    schema: str | None = None,
    finished: bool = False,
    limit: int = 1_000,
    time_limit: float = 30.0,
    loader: str | None = None,
) -> ReplayReport:
    """Replay the stored workflows of a database with the code of an application.

    Nothing is written to the database, no body of a step runs, and nothing is sent, published or enqueued: the
    workflows are copied, and a call without a checkpoint stops its workflow. Code between the steps does run. The
    stored values are read as DBOS does: their pickles are loaded.

    Args:
        app: A Python file, or the name of a module, with the new code.
        database_url: DBOS's system database. If not given: that of the environment variable
            `DBOS_SYSTEM_DATABASE_URL`, then the one that the application itself names.
        schema: The schema of DBOS's tables on PostgreSQL. If not given: what the application names, else `dbos`.
        finished: Replay all workflows, not only those under way.
        limit: How many workflows at most: those under way first, then the newest.
        time_limit: Seconds that a workflow has.
        loader: What loads the application in place of a plain import, `module:function`. It gets the path.

    Raises:
        AppFileError: When the application can't be imported.
        DatabaseUnavailable: When the database can't be read, or is not one of DBOS, or none is named.
    """
    began = time.monotonic()
    memory = tempfile.TemporaryDirectory(prefix="replay-", dir=roomy_memory(), ignore_cleanup_errors=True)
    with memory as name:
        folder = Path(name).resolve()
        order = Order(
            app=str(app),
            folder=str(folder),
            database_url=database_url or os.environ.get(DATABASE),
            schema=schema,
            finished=finished,
            limit=limit,
            time_limit=time_limit,
            loader=loader,
        )
        answers = _answers(order)
    workflows = tuple(_replayed(each) for each in answers if "workflow_id" in each)
    return ReplayReport(workflows, answers[-1]["left_out"], time.monotonic() - began)


def _answers(order: Order) -> list[dict[str, Any]]:
    file, errors_file = Path(order.folder, ANSWERS), Path(order.folder, "stderr")
    file.touch()
    command = [sys.executable, "-P", "-m", "widget_store.crashtest.replay.process", json.dumps(asdict(order))]
    with (
        errors_file.open("wb") as last_words,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=last_words, stderr=last_words, **OUT_OF_REACH
        ) as process,
    ):
        try:
            process.wait()
        finally:
            process.kill()
    answers = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    last = answers[-1] if answers else {}
    if "error" in last:
        raise getattr(errors, last["kind"])(last["error"])
    if "unnamed" in last:
        raise NoDatabaseNamed(f"{order.app} names no database. Name DBOS's system database: --database-url URL.")
    if "left_out" not in last:
        said = errors_file.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:]
        raise errors.AppFileError(f"The replay of {order.app} ended early. It said last:\n{plain(said.strip())}")
    return answers


def _replayed(answer: dict[str, Any]) -> ReplayedWorkflow:
    difference = answer["difference"] and Difference(**answer["difference"])
    return ReplayedWorkflow(**{**answer, "difference": difference})
