"""A checkout in a folder of its own, with an environment that borrows this one's packages: made without a network."""

import sys
import venv
from pathlib import Path

from tests.support import ROOT

PARTS = ("LICENSE", "Makefile", "README.md", "notebooks", "pyproject.toml", "requirements", "widget_store")


def make_checkout(folder: Path) -> Path:
    """Make the folder a checkout, in which `make` finds all but the package itself installed."""
    folder.mkdir()
    for name in PARTS:
        (folder / name).symlink_to(ROOT / name)
    venv.create(folder / ".venv", symlinks=True)
    (site,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    (folder / ".venv" / "build.installed").touch()
    return folder
