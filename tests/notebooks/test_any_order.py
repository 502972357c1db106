"""The lessons in any order, in one folder and on one PostgreSQL, by a learner whose kernels die in mid-lesson."""

import random
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.notebooks.test_outputs import compare, each_lesson
from tests.tools.store_notebooks import KERNEL, copied_course, environment_of
from widget_store.database import stop_embedded_postgres
from widget_store.lab.checks import all_exercises


@pytest.fixture(scope="module")
def used_course(public_folder: Path) -> Iterator[Path]:
    """A course that somebody has done to its end; in it these tests go on, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(public_folder))
        with copied_course() as course:
            for exercise in all_exercises():
                if exercise.takes_file:
                    (course / exercise.file).write_text((course / "solutions" / f"{exercise.name}.py").read_text())
            yield course
            stop_embedded_postgres(course.parent / "data")


def run_twice_each(kernel: BlockingKernelClient, cells: list[str]) -> None:
    for cell in cells:
        for time in ("first", "second"):
            reply = kernel.execute_interactive(cell, timeout=120, allow_stdin=False, output_hook=lambda _output: None)
            assert reply["content"]["status"] == "ok", f"the {time} time:\n{cell}\n{reply['content']}"


SAID_OF_A_FILE = "[a file that was there already]\nregex: ^(Writing|Overwriting) work/\nreplace: Writing work/\n"


@pytest.mark.thorough("executes each lesson, and a part of it before")
@pytest.mark.slow("executes a lesson, and a part of it before", weight=15)
@each_lesson
def test_a_lesson_begun_again_after_any_other_gives_what_is_stored(
    lesson: Path, used_course: Path, tmp_path: Path
) -> None:
    """pytest-randomly decides on the order, and on where the kernel dies."""
    cells = [cell.source for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == "code"]
    manager = KernelManager(kernel_name=KERNEL["name"])
    manager.start_kernel(cwd=str(used_course), env=environment_of(used_course))
    try:
        kernel = manager.blocking_client()
        kernel.start_channels()
        kernel.wait_for_ready(timeout=60)
        run_twice_each(kernel, cells[: random.randint(1, len(cells) - 1)])  # noqa: S311 - no secret
        kernel.stop_channels()
    finally:
        manager.shutdown_kernel(now=True)  # killed, with whatever it has under way
        manager.cleanup_resources()
    same = tmp_path / "same.cfg"
    same.write_text(SAID_OF_A_FILE)
    run = compare(used_course / lesson.name, None, f"--nbval-sanitize-with={same}")
    assert run.returncode == 0, run.stdout
