"""What can go wrong for a user, each with its fix. The command line prints these without a traceback."""

from widget_store.plain_text import plain

_LONGEST = 20_000  # some have the last lines of a store's output, or the names of all crash points


class WidgetStoreError(Exception):
    """Every error of the kit is one of these. It says what happened, why, and how to fix it.

    Some of the words may be a learner's, from an exception for example: control characters in them are written out.
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*(plain(each, _LONGEST) for each in words))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the words, and not the way to them."""
        return [f"{type(self).__name__}: {self}"]


class SettingError(WidgetStoreError):
    """A setting in the environment has a value the store can't use."""


class DatabaseUnavailable(WidgetStoreError):
    """The database does not answer."""


class DatabaseRunsOn(DatabaseUnavailable):
    """The embedded PostgreSQL was told to stop, and has not stopped yet."""


class Starved(WidgetStoreError):
    """The machine, or a limit that is set for this account, has not enough of something."""


class PortTaken(WidgetStoreError):
    """Another program listens on the port the store was told to use."""


class StoreRunning(WidgetStoreError):
    """The command needs the database to itself, and a store is using it."""


class TableNotDropped(WidgetStoreError):
    """A table that a reset was to drop is not there, or can't be dropped."""


class AppFileError(WidgetStoreError):
    """The file with a checkout of your own can't be used."""


class StoreDidNotStart(WidgetStoreError):
    """A store process ended, or stayed silent, before it was ready."""


class LabUnavailable(WidgetStoreError):
    """JupyterLab can't be opened on the notebooks: they are not here, or it is not installed."""


class WorkshopUnavailable(WidgetStoreError):
    """A workshop can't be started, or is not there, on this machine."""
