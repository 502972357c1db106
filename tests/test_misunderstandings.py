"""What docs/what-trips-people-up.md says of each program is what the program prints."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import PATIENCE_SECONDS
from widget_store.databases import Database

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "what-trips-people-up.md"
PROGRAMS = sorted((ROOT / "tests" / "misunderstandings").glob("*.py"))
INCLUDED = re.compile(
    r"^```\{literalinclude\} \.\./tests/misunderstandings/(?P<program>\w+\.py)\n.*?^```$"
    r".*?^```text\n(?P<output>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def told() -> dict[str, str]:
    """What the page shows of each program: its output, by the name of its file."""
    return {match["program"]: match["output"] for match in INCLUDED.finditer(PAGE.read_text(encoding="utf-8"))}


def test_the_page_includes_every_program_and_its_output() -> None:
    assert sorted(told()) == [program.name for program in PROGRAMS]


@pytest.mark.slow("runs programs that launch DBOS, some of them several times")
@pytest.mark.thorough("they depend on DBOS alone: no change of the kit breaks them")
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_program_prints_what_the_page_says(
    program: Path, backend: str, new_database: Callable[[str], Database], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(program)],
        env=os.environ | {"DATABASE_URL": new_database(backend).url, "PYTHONIOENCODING": "utf-8"},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    assert done.stdout == told()[program.name], done.stderr
    assert done.returncode == 0, done.stderr
