"""Where the data lives: the embedded PostgreSQL, a PostgreSQL server that somebody else runs, or SQLite files."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

from widget_store.databases.database import (
    Database,
    at_url,
    drop_database,
    until_the_peer_is_lost,
)
from widget_store.databases.embedded import (
    embedded_postgres,
    has_embedded_postgres,
    server_pid,
    stop_embedded_postgres,
    superuser,
)
from widget_store.databases.private import make_private_file, make_private_folder, usable
from widget_store.settings import Settings

__all__ = [
    "Database",
    "at_url",
    "drop_database",
    "has_embedded_postgres",
    "make_private_file",
    "open_database",
    "server_pid",
    "stop_embedded_postgres",
    "superuser",
    "until_the_peer_is_lost",
]


@contextlib.contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of these settings, running and answering for as long as the block lasts.

    A relative path to an SQLite file starts in the data folder: a notebook and a terminal, which have other current
    folders, mean the same file.

    Raises:
        DatabaseUnavailable: When it can't be started or does not answer.
    """
    with contextlib.ExitStack() as stack:
        url = settings.database_url
        if url is None and has_embedded_postgres():
            database = stack.enter_context(embedded_postgres(settings.data_dir))
        else:
            if url is None:
                print("The embedded PostgreSQL is not installed: using SQLite.", file=sys.stderr)
                url = "sqlite:///store.sqlite"
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_absolute():
                with usable(settings.data_dir):
                    make_private_folder(settings.data_dir)
            database = at_url(url, settings.data_dir)
            for file in database.sqlite_files:
                with contextlib.suppress(OSError):  # the check says what is wrong
                    make_private_file(file)
        database.check()
        yield database
