"""JupyterLab on a learner's copy: what `widget-store lab` tells the learner, and what it tells JupyterLab."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from widget_store.course import files, learners_copy
from widget_store.errors import LabUnavailable

_SETTINGS = Path(__file__).resolve().parents[1] / "jupyterlab"  # no question about news; lines wrap


def prepare(arguments: Sequence[str], fresh: Sequence[str]) -> list[str]:
    """Make or update the learner's copy, say so, and return JupyterLab's arguments.

    Args:
        arguments: The learner's folder, if there is one in the first place, and what JupyterLab is to be told.
        fresh: The lessons to give anew, as the learner calls them.

    Raises:
        LabUnavailable: When JupyterLab or the lesson is not there, or the folder can't be used.
    """
    if find_spec("jupyterlab") is None:
        raise LabUnavailable(
            f"JupyterLab is not installed in {sys.prefix}.\n"
            f"In a clone, run `make lab`. Elsewhere, install it: {sys.executable} -m pip install jupyterlab"
        )
    named = bool(arguments) and not arguments[0].startswith("-")
    folder = learners_copy.current_folder() / arguments[0] if named else learners_copy.default_folder()
    lessons = [learners_copy.lesson_called(name) for name in fresh]
    changes = learners_copy.update(folder, lessons)
    print(_in_words(folder, lessons, changes), flush=True)
    opened = folder / (lessons[0] if lessons else files.FIRST_LESSON)
    return jupyterlab_arguments(folder, opened, list(arguments[named:]))


def jupyterlab_arguments(folder: Path, opened: Path, more: list[str]) -> list[str]:
    """Return what JupyterLab is told: ours, except where the learner says otherwise, then the learner's.

    JupyterLab refuses a setting that is given twice.
    """
    ours = []
    root = _value_of(more, "--ServerApp.root_dir", "--notebook-dir")
    if root is None:
        ours.append(f"--ServerApp.root_dir={folder}")
    if _value_of(more, "--LabApp.default_url", "--ServerApp.default_url") is None:
        ours += _default_url(Path(root or folder), opened)
    if _value_of(more, "--LabApp.app_settings_dir") is None:
        ours.append(f"--LabApp.app_settings_dir={_SETTINGS}")
    if _value_of(more, "--KernelManager.transport_encryption") is None and _kernels_can_encrypt():
        ours.append("--KernelManager.transport_encryption=auto")
    if _value_of(more, "--ServerApp.ip", "--ip") is None:
        # The address that it opens and prints has its token. Browsers look for `localhost` at ::1, too. Where it
        # does not listen there, another account of the machine can, and would be told the token.
        ours.append("--ServerApp.ip=127.0.0.1")
    if sys.platform != "win32" and os.geteuid() == 0:
        ours.append("--allow-root")
    return [*ours, *more]


def _kernels_can_encrypt() -> bool:
    """Whether what a kernel prints can be kept from other accounts, who may connect to its port as well as JupyterLab.

    From jupyter_client 8.10 on, with a pyzmq that was built with CURVE.
    """
    import zmq
    from jupyter_client.manager import KernelManager

    return KernelManager.class_traits().keys() >= {"transport_encryption"} and zmq.has("curve")


def _default_url(root: Path, opened: Path) -> list[str]:
    """The address of a lesson; none when it is not below JupyterLab's root."""
    root, opened = Path(os.path.realpath(root)), Path(os.path.realpath(opened.parent)) / opened.name
    if not opened.is_relative_to(root):
        return []
    return [f"--LabApp.default_url=/lab/tree/{quote(opened.relative_to(root).as_posix())}"]


def _value_of(arguments: list[str], *names: str) -> str | None:
    """The value of an argument that goes by these names, written with = or without."""
    parser = argparse.ArgumentParser(prog="widget-store lab", add_help=False, allow_abbrev=False)
    parser.add_argument(*names, dest="value")
    value: str | None = parser.parse_known_args(arguments)[0].value
    return value


def _in_words(folder: Path, fresh: list[str], changes: learners_copy.Changes) -> str:
    """What has happened to the learner's copy, a line for each thing that a learner wants to know."""
    lines = [f"The course is in {folder}."]
    for lesson in fresh:
        yours = f" Your own copy is now {changes.beside[lesson]}." if lesson in changes.beside else ""
        lines.append(f"{lesson} is a new copy.{yours}")
    if changes.updated:
        lines.append(f"Updated, because you had not changed them: {', '.join(changes.updated)}.")
    if changes.kept:
        kept = ", ".join(changes.kept)
        lines.append(f"Kept, because you have changed them: {kept}. To get a newer version: --fresh NOTEBOOK")
    return "\n".join(lines)
