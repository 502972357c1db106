"""An application that is loaded, and changes nothing: its DBOS works on a throw-away database.

Whatever it makes is made as it says, except for what has an effect: the system database is another one, no consumer of
messages and no conductor starts, a datasource leaves its tables alone, and other databases may only be read.
"""

import os
import sqlite3
from functools import wraps
from pathlib import Path
from typing import Any

from dbos import DBOS, AsyncSQLAlchemyDatasource, SQLAlchemyDatasource

from widget_store.crashtest.replay.asked import Watch
from widget_store.dbos_internals import without_consumers

_KEPT = ("name", "serializer")
"""What of an application's own configuration holds for its replay."""
_READ_ONLY = "-c default_transaction_read_only=on"
_OF_A_CLOUD = ("DBOS__CLOUD", "DBOS__CONDUCTOR_KEY", "DBOS__CONDUCTOR_URL", "DBOS__APPVERSION", "DBOS__VMID")


class HarmlessApplication:
    """The DBOS that an application makes from here on, or that is made in its place."""

    def __init__(self, file: Path) -> None:
        """Move it.

        Args:
            file: The throw-away SQLite database.
        """
        self._file = file
        self._config: dict[str, Any] = {}
        self._watch: Watch | None = None
        initialize, launch = DBOS.__init__, DBOS._launch  # noqa: SLF001 - there is no public place to step in

        def moved(dbos: DBOS, *, config: dict[str, Any], **_conductor: Any) -> None:
            self._config = self._config or dict(config)
            kept = {name: config[name] for name in _KEPT if config.get(name) is not None}
            initialize(dbos, config={**kept, **self._throwaway()})  # type: ignore[typeddict-item]

        def watched(dbos: DBOS) -> None:
            without_consumers(dbos)
            launch(dbos)
            self._watch = self._watch or Watch(dbos)

        for name in _OF_A_CLOUD:
            os.environ.pop(name, None)
        _replace(DBOS, "__init__", moved)
        _replace(DBOS, "_launch", watched)
        _leave_the_tables_alone(SQLAlchemyDatasource)
        _leave_the_tables_alone(AsyncSQLAlchemyDatasource)

    def _throwaway(self) -> dict[str, Any]:
        return {
            "system_database_url": f"sqlite:///{self._file}",
            "application_version": "replay",
            "executor_id": "replay",
            "log_level": "CRITICAL",
        }

    @property
    def name(self) -> str | None:
        """What the application calls itself."""
        return self._config.get("name")

    @property
    def url(self) -> str | None:
        """The system database that the application names; DBOS's default, when it makes a DBOS and names none."""
        if not self._config:
            return None
        name = str(self._config.get("name")).replace("-", "_")
        return self._config.get("system_database_url") or f"sqlite:///{name}.sqlite"

    @property
    def schema(self) -> str:
        """The schema of DBOS's tables on PostgreSQL."""
        return self._config.get("dbos_system_schema") or "dbos"

    def launched(self) -> Watch:
        """The watch over its DBOS, which is launched if it was not."""
        if not self._config:
            DBOS(config={"name": "replay"})
        if self._watch is None:
            DBOS.launch()
        assert self._watch is not None  # noqa: S101 - launching has set it
        return self._watch


def let_databases_be_read_only(folder: Path) -> None:
    """Let this process write to no database, neither PostgreSQL nor SQLite, except for files in the folder."""
    os.environ["PGOPTIONS"] = f"{os.environ.get('PGOPTIONS', '')} {_READ_ONLY}".strip()

    connect = sqlite3.connect

    @wraps(connect)
    def connect_to_read(*given: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **named)
        files = [file for _, _, file in connection.execute("PRAGMA database_list") if file]
        if not all(Path(file).is_relative_to(folder) for file in files):
            connection.execute("PRAGMA query_only = ON")
        return connection

    for module in (sqlite3, sqlite3.dbapi2):  # SQLAlchemy takes the second
        setattr(module, "connect", connect_to_read)  # noqa: B010 - mypy lets no function be replaced otherwise


def _leave_the_tables_alone(datasource: type[Any]) -> None:
    """A datasource makes its table when it is made, and deletes its rows when a workflow ends: not here."""
    initialize = datasource.__init__

    async def later(*_given: Any) -> bool:
        return True

    def now(*_given: Any) -> bool:
        return True

    def harmless(self: Any, *given: Any, **named: Any) -> None:
        initialize(self, *given, **named)
        for name in ("run_migrations", "verify_migrations", "_delete_checkpoints", "_delete_checkpoints_if_owner"):
            setattr(self, name, later if datasource is AsyncSQLAlchemyDatasource else now)

    _replace(datasource, "__init__", harmless)


def _replace(of: type[Any], name: str, method: Any) -> None:
    setattr(of, name, method)
