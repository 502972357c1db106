"""The lessons in any order, in one folder and on one PostgreSQL, by a learner whose kernels die in mid-lesson."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.notebooks.test_outputs import compare, some_lessons
from tests.tools.notebooks import KERNEL, copied_course, environment_of
from widget_store.course.checks import all_exercises
from widget_store.databases import has_embedded_postgres, stop_embedded_postgres

pytestmark = [
    pytest.mark.thorough("executes each lesson, and a part of it before"),
    pytest.mark.slow("executes a lesson, and a part of it before", weight=15),
    pytest.mark.skipif(not has_embedded_postgres(), reason="no embedded PostgreSQL for this platform"),
]


@dataclass
class Used:
    """A course in which every exercise's file is written; the tests go on in it, one after the other.

    Attributes:
        folder: Where its notebooks are.
        history: The lessons that were done in it, with the number of cells after which the kernel died.
    """

    folder: Path
    history: list[tuple[str, int]] = field(default_factory=list)


@pytest.fixture(scope="module")
def used_course(public_folder: Path) -> Iterator[Used]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(public_folder))
        with copied_course() as course:
            for exercise in all_exercises():
                if exercise.takes_file:
                    (course / exercise.file).write_text((course / "solutions" / f"{exercise.name}.py").read_text())
            yield Used(course)
            stop_embedded_postgres(course.parent / "data")


def run_twice_each(kernel: BlockingKernelClient, cells: list[str]) -> None:
    for cell in cells:
        for time in ("first", "second"):
            reply = kernel.execute_interactive(cell, timeout=120, allow_stdin=False, output_hook=lambda _output: None)
            assert reply["content"]["status"] == "ok", f"the {time} time:\n{cell}\n{reply['content']}"


def run_and_kill(course: Path, cells: list[str]) -> None:
    """Run cells in a kernel, each of them twice, and kill it with whatever it has under way."""
    manager = KernelManager(kernel_name=KERNEL["name"])
    manager.start_kernel(cwd=str(course), env=environment_of(course))
    kernel = manager.blocking_client()
    try:
        kernel.start_channels()
        kernel.wait_for_ready(timeout=60)
        run_twice_each(kernel, cells)
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@some_lessons
def test_a_lesson_begun_again_after_others_gives_what_is_stored(lesson: Path, used_course: Used) -> None:
    """pytest-randomly decides on the order, and on where the kernel dies."""
    cells = [cell.source for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == "code"]
    cut = random.randint(1, len(cells) // 2)  # noqa: S311 - no secret
    used_course.history.append((lesson.stem, cut))
    run_and_kill(used_course.folder, cells[:cut])
    run = compare(used_course.folder / lesson.name, None)
    assert run.returncode == 0, f"{used_course.history}\n{run.stdout}"
