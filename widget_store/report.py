"""`widget-store doctor --report`: what to paste into a bug report. It names no password and no person."""

import contextlib
import getpass
import io
import os
import platform
import re
import socket
import sys
from importlib import metadata
from pathlib import Path

from sqlalchemy.engine import make_url

from widget_store import doctor
from widget_store.errors import WidgetStoreError
from widget_store.settings import PREFIX, read_settings

_TELLING = (
    PREFIX,
    "PG",
    "LC_",
    "LANG",
    "PYTHON",
    "JUPYTER",
    "PIP_",
    "CONDA",
    "VIRTUAL_ENV",
    "XDG_RUNTIME_DIR",
    "TMPDIR",
)
_SHORTEST = 2  # letters of a name or a folder that is hidden: one letter would be everywhere
_SAYS_NOTHING = {"localhost", "127.0.0.1", "::1", "postgres", "widget_store"}


def report() -> str:
    """The doctor's findings, this machine, and the versions, ready to be pasted."""
    # Looked for first: the embedded PostgreSQL takes libpq's away.
    telling = ", ".join(sorted(name for name in os.environ if name.startswith(_TELLING))) or "none"
    findings = io.StringIO()
    with contextlib.redirect_stdout(findings), contextlib.redirect_stderr(findings):
        doctor.examine()
    requirements = metadata.requires(doctor.DISTRIBUTION) or []
    names = sorted({re.split(r"[^\w.-]", requirement)[0] for requirement in requirements})
    lines = [
        f"widget-store {_version(doctor.DISTRIBUTION)}",
        f"Python {sys.version.split()[0]} ({platform.python_implementation()}), {platform.platform()}",
        f"text: {sys.getfilesystemencoding()}, standard output {sys.stdout.encoding}",
        f"variables that are set (their values are not shown): {telling}",
        *(f"{name} {_version(name)}" for name in names),
        "",
        findings.getvalue().rstrip(),
    ]
    return _without_names("\n".join(lines))


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "is not installed"


def _without_names(text: str) -> str:
    """The text without the folders and the names by which a person could be known."""
    for place, word in sorted(_folders().items(), key=lambda item: -len(item[0])):
        text = text.replace(place, word)
    text = re.sub(r"\bpostgresql\S*://\S+", "postgresql://HIDDEN", text)
    for name in sorted(_names(), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "HIDDEN", text, flags=re.IGNORECASE)
    return text


def _folders() -> dict[str, str]:
    """Folders whose paths may hold a name, and what to call them."""
    folders = {str(Path.cwd()): "CURRENT_FOLDER", sys.prefix: "PYTHON_FOLDER", str(doctor.CHECKOUT): "KIT_FOLDER"}
    with contextlib.suppress(WidgetStoreError, RuntimeError):
        folders[str(read_settings().data_dir.resolve())] = "DATA_FOLDER"
    with contextlib.suppress(RuntimeError):  # an account without a home
        folders[str(Path.home())] = "~"
    if "TMPDIR" in os.environ:
        folders[os.environ["TMPDIR"].rstrip("/")] = "TMPDIR"
    return {place: word for place, word in folders.items() if len(place) >= _SHORTEST}


def _names() -> set[str]:
    names = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME")} | {socket.gethostname()}
    with contextlib.suppress(KeyError, OSError, ImportError):  # an account without a name
        names.add(getpass.getuser())
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):
            names.update(re.split(r"[,\s]+", pwd.getpwuid(os.getuid()).pw_gecos))
    with contextlib.suppress(WidgetStoreError):
        names |= _names_in(read_settings().database_url)
    home = Path(os.path.expanduser("~")).name  # noqa: PTH111 - pathlib raises when there is no home
    return {name for name in names | {home} if len(name) >= _SHORTEST and name != "root"}


def _names_in(database_url: str | None) -> set[str]:
    """The user, the server and the database that a URL names: what is wrong with a database is told with these."""
    if database_url is None or not database_url.startswith("postgresql"):
        return set()
    url = make_url(database_url)
    asked = [url.username, url.host, url.database, *map(url.query.get, ("user", "host", "hostaddr", "dbname"))]
    return {name for words in asked if words for name in str(words).split(",")} - _SAYS_NOTHING
