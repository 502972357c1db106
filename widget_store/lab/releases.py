"""Several releases of one application side by side: processes with a version each, on one database."""

import atexit
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pandas as pd
import sqlalchemy as sa
from dbos import DBOSClient

from widget_store.databases.throwaway import open_databases
from widget_store.errors import StoreDidNotStart
from widget_store.plain_text import in_a_line, plain
from widget_store.settings import read_settings
from widget_store.system.interrupts import OUT_OF_REACH, interrupts_wait

_STATUS_WITHIN_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.02
_LAST_WORDS = 2_000


class Releases:
    """Releases of an application, side by side on one database, which is empty in the beginning and gone in the end.

    A release is a Python file and a version, in a process of its own. The process finds these environment variables:
    `DATABASE_URL`, `DBOS_SYSTEM_DATABASE_URL`, and `RELEASE`, its version. It prints a line when it is launched, and
    runs until its standard input ends: so also when this kernel dies.

    A kernel has at most one: starting another closes the one before, so a cell may be run again.

    Args:
        application_name: The `name` in DBOS's configuration of the application.
        tables: SQL that makes its tables.

    Attributes:
        client: DBOS's way to enqueue workflows, and to look at them, from outside.
    """

    _of_this_kernel: ClassVar["Releases | None"] = None

    def __init__(self, application_name: str, tables: str = "") -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        with contextlib.ExitStack() as stack:
            databases = stack.enter_context(open_databases(read_settings()))
            self._database = stack.enter_context(databases.template())
            self._folder = databases.folder
            engine = self._database.engine(poolclass=sa.NullPool)
            if tables:
                with engine.begin() as connection:
                    connection.execute(sa.text(tables))
            self.client = DBOSClient(system_database_url=self._database.system_url, application_name=application_name)
            stack.callback(self.client.destroy)
            stack.callback(self._stop_all)
            self._resources = stack.pop_all()

    @classmethod
    def fresh(cls, application_name: str, tables: str = "") -> "Releases":
        """Give a database without workflows, in the place of the one that this kernel had.

        Raises:
            DatabaseUnavailable: When the database can't be started or does not answer.
        """
        if cls._of_this_kernel is not None:
            cls._of_this_kernel.close()
        releases = cls._of_this_kernel = cls(application_name, tables)
        atexit.register(releases.close)
        return releases

    @property
    def system_url(self) -> str:
        """The URL of DBOS's system database."""
        return self._database.system_url

    def start(self, file: str | Path, version: str) -> None:
        """Start a release, and wait until it is launched. One that runs with this version is stopped before.

        Args:
            file: Its Python file.
            version: Its application version.

        Raises:
            StoreDidNotStart: With what it printed last.
        """
        self.stop(version)
        log = self._folder / f"{version}.log"
        with interrupts_wait(), log.open("w", encoding="utf-8") as errors:
            process = self._processes[version] = subprocess.Popen(
                [sys.executable, str(file)],
                env=self._environment(version),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                **OUT_OF_REACH,
            )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        if not process.stdout.readline():
            self.stop(version)
            said = log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:]
            raise StoreDidNotStart(f"{file} did not start as {version}. It said last:\n{plain(said.strip())}")

    def stop(self, version: str) -> None:
        """End the process of a release. What it has not finished waits for its version. No harm if it does not run."""
        process = self._processes.pop(version, None)
        if process is None:
            return
        with interrupts_wait():
            process.kill()
            process.communicate()

    def running(self) -> list[str]:
        """The versions of which a process runs."""
        return sorted(version for version, process in self._processes.items() if process.poll() is None)

    def workflows(self) -> pd.DataFrame:
        """Return a row for each workflow, by id: `workflow`, `status`, and `version`, if it has one."""
        found = self.client.list_workflows(load_input=False, load_output=False)
        records = sorted((in_a_line(each.workflow_id), each.status, each.app_version or "") for each in found)
        return pd.DataFrame.from_records(records, columns=["workflow", "status", "version"]).set_index("workflow")

    def steps(self, workflow_id: str) -> list[str]:
        """The names of the steps of a workflow that have a checkpoint, in their order."""
        return [in_a_line(step["function_name"]) for step in self.client.list_workflow_steps(workflow_id)]

    def wait_for(self, workflow_id: str, *statuses: str) -> str:
        """Wait until a workflow has one of these statuses, and return it.

        Raises:
            TimeoutError: When that does not happen within half a minute.
        """
        status = ""

        def has_it() -> bool:
            nonlocal status
            found = self.client.list_workflows(workflow_ids=[workflow_id], load_input=False, load_output=False)
            status = found[0].status if found else "unknown"
            return status in statuses

        _wait_until(has_it, lambda: f"{workflow_id} is {status}, and not {' or '.join(statuses)}.")
        return status

    def wait_for_step(self, workflow_id: str, step: str) -> None:
        """Wait until a workflow has a checkpoint of a step. `DBOS.sleep` is the timer of a wait for a message.

        Raises:
            TimeoutError: When that does not happen within half a minute.
        """
        _wait_until(lambda: step in self.steps(workflow_id), lambda: f"{workflow_id} has no checkpoint of {step}.")

    def close(self) -> None:
        """End all, and give back the database. Does no harm when done twice."""
        with interrupts_wait():
            atexit.unregister(self.close)
            if Releases._of_this_kernel is self:
                Releases._of_this_kernel = None
            self._resources.close()

    def _stop_all(self) -> None:
        for version in list(self._processes):
            self.stop(version)

    def _environment(self, version: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("DBOS_")}
        return own | {
            "DATABASE_URL": self._database.url,
            "DBOS_SYSTEM_DATABASE_URL": self._database.system_url,
            "RELEASE": version,
            "PYTHONIOENCODING": "utf-8:backslashreplace",
        }


def _wait_until(is_so: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + _STATUS_WITHIN_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(_LOOK_AGAIN_SECONDS)
