"""A checkout that was moved or copied: what was installed in the old place works in the new one."""

import subprocess
from pathlib import Path

import pytest

from tests.checkouts import make_checkout
from tests.support import environment

SCRIPTS = ("widget-store", "jupyter", "pytest")


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A checkout that make has installed in one place, and that is in another now."""
    old, new = make_checkout(tmp_path / "old"), tmp_path / "it's a new (ü) & place"
    pip = [
        str(old / ".venv/bin/python"),
        "-m",
        "pip",
        "install",
        "-qq",
        "--no-deps",
        "--no-build-isolation",
        "-e",
        str(old),
    ]
    subprocess.run(pip, check=True)
    for name in SCRIPTS[1:]:
        script = (old / ".venv/bin/widget-store").read_text().replace("widget_store.__main__", _module_of(name))
        (old / ".venv/bin" / name).write_text(script)
        (old / ".venv/bin" / name).chmod(0o755)
    for stamp in ("lab", "test"):
        (old / ".venv" / f"{stamp}.installed").touch()
    old.rename(new)
    return new


def _module_of(script: str) -> str:
    return {"jupyter": "jupyter_core.command", "pytest": "pytest"}[script]


def run(*command: str, folder: Path) -> str:
    ended = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow("makes a virtual environment")
def test_make_sets_up_a_moved_checkout_without_installing_anything_again(moved: Path) -> None:
    assert "moved" in run("make", "setup", "PIP_NO_INDEX=1", folder=moved)
    assert run("make", "setup", folder=moved) == "Ready. Next: make lab\n"
    for script in SCRIPTS:
        run(str(moved / ".venv/bin" / script), "--version", folder=moved)
    home = 'import widget_store, sys; print(widget_store.__file__, sys.prefix, sep="\\n")'
    found = run(str(moved / ".venv/bin/python"), "-c", home, folder=moved.parent).splitlines()
    assert found[1] == str(moved / ".venv")
    assert Path(found[0]).parents[1] == moved
    activate = '. .venv/bin/activate && command -v widget-store && echo "$VIRTUAL_ENV"'
    assert run("sh", "-c", activate, folder=moved).splitlines() == [
        str(moved / ".venv/bin/widget-store"),
        str(moved / ".venv"),
    ]
