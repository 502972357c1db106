"""`%%writefile` in a lesson: it does what IPython's does, makes the folder, and says the same each time."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from widget_store.lab.writefile import writefile

Said = tuple[str, str]
"""What a cell has printed, to standard output and to standard error."""


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Callable[[str], Said]]:
    shell = InteractiveShell()  # type: ignore[no-untyped-call]
    shell.magics_manager.register_function(writefile, "cell")

    def run(source: str) -> Said:
        with capture_output() as shown:
            shell.run_cell(source)  # type: ignore[no-untyped-call]
        return shown.stdout, shown.stderr

    with contextlib.chdir(tmp_path):
        yield run


def test_it_makes_the_folder_and_says_the_same_the_second_time(cell: Callable[[str], Said]) -> None:
    for text in ("first = 'ä'\n", "second = 'ß'\n"):
        assert cell(f"%%writefile work/mine/a.py\n{text}") == ("Writing work/mine/a.py\n", "")
        assert Path("work/mine/a.py").read_text(encoding="utf-8") == text


def test_it_puts_a_cell_at_the_end_of_a_file_when_asked_to(cell: Callable[[str], Said]) -> None:
    cell("%%writefile a.py\nfirst = 1\n")
    assert cell("%%writefile -a a.py\nsecond = 2\n") == ("Appending to a.py\n", "")
    assert Path("a.py").read_text(encoding="utf-8") == "first = 1\nsecond = 2\n"


def test_a_name_with_a_space_stands_in_quotes(cell: Callable[[str], Said]) -> None:
    assert cell('%%writefile "my work/a b.py"\nx = 1\n') == ("Writing my work/a b.py\n", "")
    assert Path("my work/a b.py").read_text(encoding="utf-8") == "x = 1\n"


def test_it_asks_for_the_name_of_the_file(cell: Callable[[str], Said]) -> None:
    assert cell("%%writefile\nx = 1\n") == ("", "UsageError: the following arguments are required: filename\n")


def test_it_explains_itself(cell: Callable[[str], Said]) -> None:
    assert "It is IPython's own, and makes the folder" in cell("%%writefile?")[0]
