"""Folders and files that no other account of the machine can read."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from widget_store.errors import DatabaseUnavailable
from widget_store.settings import PREFIX


@contextlib.contextmanager
def usable(data_dir: Path) -> Iterator[None]:
    """Say what is wrong with the data folder, in place of the system's error.

    Raises:
        DatabaseUnavailable: When the block could not do something to a file.
    """
    try:
        yield
    except OSError as failure:
        raise DatabaseUnavailable(
            f"The data folder {data_dir} can't be used: {failure.strerror or failure}.\n"
            f"Correct its permissions, or name another in {PREFIX}DATA_DIR."
        ) from None


def make_private_folder(folder: Path) -> None:
    """Make a folder that is closed to others. One that is there already may be somebody's choice, and stays as it is.

    Raises:
        OSError: When it can't be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # whatever the umask is


def make_private_file(file: Path, text: str = "") -> None:
    """Make a file that is closed to others, if it is not there yet.

    Raises:
        OSError: When it can't be made.
    """
    with contextlib.suppress(FileExistsError):
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as lines:
            lines.write(text)
        file.chmod(0o600)
