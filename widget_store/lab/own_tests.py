"""Run a learner's own tests with pytest, and print what is the same each time."""

import os
import re
import subprocess
import sys
from pathlib import Path

from widget_store.plain_text import plain
from widget_store.system.interrupts import OUT_OF_REACH

_OPTIONS = ["-q", "--no-header", "--color=no", "--tb=short", "--noconftest", "-W", "ignore", "-o", "addopts="]
_PLUGINS = ["-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
_CHANGING = ("PYTEST_", "DBOS_", "CI", "BUILD_NUMBER")  # in CI, pytest says more
_SECONDS = re.compile(r" in \d+\.\d+s( \(\d+:\d+:\d+\))?")


def run_tests(file: str | Path, *options: str) -> None:
    """Run the tests of a file with pytest, in the file's folder, and print what pytest says, without the times.

    Args:
        file: The file with the tests.
        options: Options of pytest's.
    """
    print(outcome_of_tests(Path(file), *options)[1])


def outcome_of_tests(file: Path, *options: str) -> tuple[int, str]:
    """Run the tests of a file, and return pytest's exit status and what it says, without the times."""
    command = [sys.executable, "-m", "pytest", file.name, *_OPTIONS, *_PLUGINS, *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_CHANGING)}
    ended = subprocess.run(
        command,
        cwd=file.resolve().parent,
        env=environment | {"COLUMNS": "88", "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        **OUT_OF_REACH,
    )
    lines = _SECONDS.sub("", ended.stdout).strip().splitlines()
    return ended.returncode, "\n".join(plain(line.rstrip(), 200) for line in lines)
