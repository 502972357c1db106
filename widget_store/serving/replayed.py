"""A checkout that is loaded to be replayed: in no store, and with a datasource that is never used."""

from pathlib import Path

from dbos import SQLAlchemyDatasource

from widget_store.exactly_once import bind
from widget_store.serving.application import load_application


def load(file: Path) -> None:
    """Load the file as a store would.

    Raises:
        AppFileError: When the file can't be run, or what it defines can't be used.
    """
    bind(SQLAlchemyDatasource.create("sqlite://"))
    load_application(file)
