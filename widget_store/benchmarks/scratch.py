"""Where the benchmarks measure: on an empty database of the kind that the settings name, gone afterwards."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from widget_store.databases import at_url, drop_database, has_embedded_postgres
from widget_store.errors import DatabaseUnavailable
from widget_store.settings import PREFIX, Settings


@contextlib.contextmanager
def scratch(settings: Settings) -> Iterator[Settings]:
    """The default settings, on an empty database of the kind these name; it is removed afterwards.

    Raises:
        DatabaseUnavailable: When the server lets nobody make databases.
    """
    default = Settings.model_construct()
    url = None if settings.database_url is None else make_url(settings.database_url)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        if url is None and not has_embedded_postgres():
            url = make_url("sqlite://")
        if url is None:
            change: dict[str, object] = {"data_dir": folder}
        elif url.get_backend_name() == "sqlite":
            change = {"database_url": f"sqlite:///{folder / 'store.sqlite'}"}
        else:
            change = {"database_url": stack.enter_context(_scratch_database(url))}
        yield default.model_copy(update=change)


@contextlib.contextmanager
def _scratch_database(url: URL) -> Iterator[str]:
    """A new database on the PostgreSQL server of this URL: that of the URL may hold somebody's orders."""
    name = f"widget_store_bench_{uuid4().hex[:8]}"
    server = at_url(url.render_as_string(hide_password=False))
    try:
        with server.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as failure:
        raise DatabaseUnavailable(
            f"The benchmarks make a database of their own, and may not: {str(failure).strip()}\n"
            f"Give the user of {server.name} the right to, or unset {PREFIX}DATABASE_URL."
        ) from None
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        drop_database(server, name)
