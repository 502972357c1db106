"""A copy of the course, in which nobody has done anything yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.notebooks import copied_course


@pytest.fixture
def course(public_folder: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(public_folder))
        patch.setattr("tempfile.tempdir", None)
        with copied_course() as folder:
            yield folder
