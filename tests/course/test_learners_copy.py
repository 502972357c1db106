"""The learner's copy of the course: clean, of the learner's own, and never written over."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support import ROOT, environment
from widget_store.course import files, jupyterlab, learners_copy
from widget_store.course.checks import all_exercises
from widget_store.course.learners_copy import REMEMBERED, lesson_called, update
from widget_store.errors import LabUnavailable

LESSON = "04_crash_lab.ipynb"
PICTURE = "images/crash-lab.svg"
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lessons as they are published, to be changed as a new version of the package does."""
    folder = tmp_path / "published"
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns("work"))
    monkeypatch.setattr(files, "_INSTALLED", folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A learner's folder, with the course in it."""
    folder = tmp_path / "copy"
    update(folder)
    return folder


def rewrite(path: Path, **more: Any) -> str:
    """Change a notebook's first code cell, and return what is in the file then."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell.update({"source": "mine = 1", **more})
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_has_every_lesson_without_an_output_and_otherwise_as_published(copy: Path) -> None:
    lessons = files.lessons()
    assert [path.name for path in sorted(copy.glob("*.ipynb"))] == [path.name for path in lessons]
    for lesson in lessons:
        mine, theirs = (nbformat.read(path, as_version=4) for path in (copy / lesson.name, lesson))
        nbformat.validate(mine)
        code = [cell for cell in mine.cells if cell.cell_type == "code"]
        assert {(cell.execution_count, len(cell.outputs)) for cell in code} == {(None, 0)}
        assert [(cell.id, cell.source, cell.metadata) for cell in mine.cells] == [
            (cell.id, cell.source, cell.metadata) for cell in theirs.cells
        ]


def test_every_file_that_a_lesson_names_is_in_the_copy(copy: Path) -> None:
    for path in copy.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for name in learners_copy_names(cell.source):
                assert (copy / name).exists(), f"{path.name} names {name}"


def learners_copy_names(source: str) -> list[str]:
    """The files beside a notebook that a cell names: links, pictures and data. Its own files in work/ come later."""
    words = source.replace("(", " ").replace(")", " ").replace('"', " ").replace("'", " ").split()
    return [word for word in words if word.startswith("images/") or (word.endswith(".ipynb") and word[:2].isdigit())]


def test_a_second_start_changes_nothing(copy: Path) -> None:
    before = contents(copy)
    assert update(copy) == learners_copy.Changes()
    assert contents(copy) == before


def test_what_the_learner_changed_is_kept_when_a_newer_version_comes(published: Path, copy: Path) -> None:
    mine = rewrite(copy / LESSON)
    (copy / PICTURE).write_text("mine")
    rewrite(published / LESSON, source="theirs = 2")
    (published / PICTURE).write_text("theirs")
    assert update(copy).kept == [LESSON, PICTURE]
    assert (copy / LESSON).read_text(encoding="utf-8") == mine
    assert (copy / PICTURE).read_text() == "mine"
    assert update(copy).kept == [LESSON, PICTURE], "it is said at every start"


def test_a_run_is_a_change_too(published: Path, copy: Path) -> None:
    run = {"execution_count": 1, "outputs": [{"output_type": "stream", "name": "stdout", "text": "seen"}]}
    lesson = json.loads((copy / LESSON).read_bytes())
    next(cell for cell in lesson["cells"] if cell["cell_type"] == "code").update(run)
    (copy / LESSON).write_text(json.dumps(lesson))
    rewrite(published / LESSON)
    assert update(copy).kept == [LESSON]
    assert "seen" in (copy / LESSON).read_text(encoding="utf-8")


def test_what_the_learner_only_opened_is_updated_when_a_newer_version_comes(published: Path, copy: Path) -> None:
    """JupyterLab writes the version of Python into a notebook that is opened, and its lines in its own way."""
    opened = json.loads((copy / LESSON).read_bytes())
    opened["metadata"]["language_info"]["version"] = "3.99"
    for cell in opened["cells"]:
        cell["source"] = "".join(cell["source"])
    (copy / LESSON).write_text(json.dumps(opened, indent=4))
    rewrite(published / LESSON)
    assert update(copy).updated == [LESSON]
    assert "mine = 1" in (copy / LESSON).read_text(encoding="utf-8")


def test_new_lessons_come_and_deleted_ones_come_back(published: Path, copy: Path) -> None:
    shutil.copy(published / LESSON, published / "11_a_new_one.ipynb")
    (copy / LESSON).unlink()
    assert update(copy).new == [LESSON, "11_a_new_one.ipynb"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"04_crash_lab.ipynb": 1}', "\x00", None])
def test_without_its_memory_it_keeps_all_that_differs(published: Path, copy: Path, damage: str | None) -> None:
    mine = rewrite(copy / LESSON)
    rewrite(published / "05_endpoints_and_idempotency.ipynb")
    (copy / REMEMBERED).unlink() if damage is None else (copy / REMEMBERED).write_text(damage)
    assert update(copy) == learners_copy.Changes()
    assert (copy / LESSON).read_text(encoding="utf-8") == mine
    rewrite(published / "07_recovered_state.ipynb")
    assert update(copy).updated == ["07_recovered_state.ipynb"], "it remembers again what is as it was put there"


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"cells": 1}', b'{"cells": [1]}', b"\xff\xfe"])
def test_a_lesson_that_is_no_notebook_any_more_is_the_learner_s(copy: Path, broken: bytes) -> None:
    (copy / LESSON).write_bytes(broken)
    update(copy)
    assert (copy / LESSON).read_bytes() == broken
    assert update(copy, [LESSON]).beside == {LESSON: "04_crash_lab-kept-1.ipynb"}
    assert (copy / "04_crash_lab-kept-1.ipynb").read_bytes() == broken
    nbformat.read(copy / LESSON, as_version=4)


def test_a_fresh_lesson_leaves_each_of_the_learner_s_beside_it(copy: Path) -> None:
    clean = (copy / LESSON).read_bytes()
    (copy / "04_crash_lab-kept-2.ipynb").write_text("of the learner's own")
    for number, name in [(1, "04_crash_lab-kept-1.ipynb"), (2, "04_crash_lab-kept-3.ipynb")]:
        mine = rewrite(copy / LESSON, source=f"mine = {number}")
        assert update(copy, [LESSON]).beside == {LESSON: name}
        assert (copy / name).read_text(encoding="utf-8") == mine
        assert (copy / LESSON).read_bytes() == clean
    assert (copy / "04_crash_lab-kept-2.ipynb").read_text() == "of the learner's own"


def test_a_fresh_lesson_that_nobody_changed_is_put_nowhere_else(copy: Path) -> None:
    assert update(copy, [LESSON]).beside == {}
    assert list(copy.glob("*-kept-*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_lesson_that_is_a_link_stays_one_and_what_it_leads_to_stays(copy: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.ipynb"
    (copy / LESSON).rename(elsewhere)
    (copy / LESSON).symlink_to(elsewhere)
    mine = rewrite(elsewhere)
    (copy / PICTURE).unlink()
    (copy / PICTURE).symlink_to("nowhere")
    update(copy)
    assert (copy / LESSON).is_symlink()
    assert (copy / PICTURE).is_symlink()
    update(copy, [LESSON])
    assert not (copy / LESSON).is_symlink()
    assert elsewhere.read_text(encoding="utf-8") == mine


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_the_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    update(tmp_path / "link")
    assert (tmp_path / "real" / LESSON).is_file()


def test_a_write_that_fails_leaves_the_old_lesson_whole(
    published: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(published / LESSON)
    before = contents(copy)

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LabUnavailable, match="No space left on device"):
        update(copy)
    assert contents(copy) == before


@pytest.mark.parametrize("called", ["04", "4", "04_crash_lab", "04_crash_lab.ipynb", "somewhere/04_crash_lab.ipynb"])
def test_a_lesson_is_called_in_several_ways(called: str) -> None:
    assert lesson_called(called) == LESSON


@pytest.mark.parametrize("called", ["", "99", "crash", "04_", "notebook.py"])
def test_a_lesson_that_is_not_there_is_answered_with_those_that_are(called: str) -> None:
    with pytest.raises(LabUnavailable, match="04_crash_lab"):
        lesson_called(called)


# --- folders that will not do


def lab(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The command, with a JupyterLab that only says its version."""
    return subprocess.run(
        [sys.executable, "-m", "widget_store", "lab", *arguments, "--version"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def _a_file(folder: Path) -> str:
    (folder / "course").write_text("")
    return "is not a folder"


def _below_a_file(folder: Path) -> str:
    (folder / "course").write_text("")
    return "Not a directory"


def _a_link_to_nowhere(folder: Path) -> str:
    (folder / "course").symlink_to("nowhere")
    return "is not a folder"


def _a_link_to_itself(folder: Path) -> str:
    (folder / "course").symlink_to("course")
    return "is not a folder"


def _a_lesson_is_a_folder(folder: Path) -> str:
    (folder / "course" / LESSON).mkdir(parents=True)
    return "Is a directory"


def _its_work_is_a_file(folder: Path) -> str:
    (folder / "course").mkdir()
    (folder / "course" / "work").write_text("")
    return "File exists"


def _read_only(folder: Path) -> str:
    (folder / "course").mkdir(mode=0o500)
    return "Permission denied"


@pytest.mark.skipif(sys.platform == "win32", reason="other words, and links need a right there")
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (_a_file, "course"),
        (_below_a_file, "course/below"),
        (_a_link_to_nowhere, "course"),
        (_a_link_to_itself, "course"),
        (_a_lesson_is_a_folder, "course"),
        (_its_work_is_a_file, "course"),
        pytest.param(_read_only, "course", marks=pytest.mark.skipif(AS_ROOT, reason="root may write anywhere")),
    ],
)
def test_a_folder_that_will_not_do_is_named_in_a_sentence(make: Any, name: str, tmp_path: Path) -> None:
    reason = make(tmp_path)
    ended = lab(name, folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("widget-store lab: ")
    assert reason in ended.stderr
    assert str(tmp_path / name) in ended.stderr
    assert "Name another folder: widget-store lab FOLDER" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_published_lessons_are_nobody_s_copy() -> None:
    ended = lab(".", folder=ROOT / "notebooks")
    assert ended.returncode == 1
    assert "Name another folder" in ended.stderr
    assert not (ROOT / "notebooks" / REMEMBERED).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a current folder can't be deleted there")
def test_a_current_folder_that_is_deleted_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'rmdir "{gone}"; exec "{sys.executable}" -P -m widget_store lab'
    ended = subprocess.run(["sh", "-c", command], cwd=gone, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("widget-store lab: The current folder is deleted.")


# --- which folder, and what JupyterLab is told


@pytest.fixture
def _in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_in")
def test_the_copy_is_in_the_current_folder_or_is_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learners_copy.default_folder() == tmp_path / "widget-store-course"
    update(tmp_path / "widget-store-course")
    monkeypatch.chdir("widget-store-course")
    assert learners_copy.default_folder() == tmp_path / "widget-store-course"


@pytest.mark.parametrize("within", [".", "notebooks", "widget_store/lab"])
def test_within_the_repository_there_is_one_copy_which_git_does_not_see(
    within: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / within)
    folder = learners_copy.default_folder()
    assert folder == ROOT / "widget-store-course"
    ignored = ["git", "check-ignore", "-q", f"{folder.name}/{learners_copy.WORK}/mine.py"]
    if (ROOT / ".git").exists():
        assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0


def test_in_somebody_else_s_repository_the_copy_is_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class may share one repository."""
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(learners_copy, "is_own", lambda _: False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert learners_copy.default_folder() == tmp_path / "widget-store-course"


def told(arguments: list[str], fresh: tuple[str, ...] = ()) -> dict[str, str]:
    """What JupyterLab is told, by name; it refuses to be told a thing twice."""
    given = [word.partition("=")[::2] for word in jupyterlab.prepare(arguments, fresh)]
    names = [name for name, _ in given]
    assert len(set(names)) == len(names), names
    return dict(given)


@pytest.mark.usefixtures("_in")
def test_jupyterlab_opens_the_first_lesson_or_the_fresh_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told([])
    assert said["--ServerApp.root_dir"] == str(tmp_path / "widget-store-course")
    assert said["--LabApp.default_url"] == f"/lab/tree/{files.FIRST_LESSON}"
    assert capsys.readouterr().out == f"The course is in {tmp_path / 'widget-store-course'}.\n"
    mine = rewrite(tmp_path / "widget-store-course" / LESSON)
    assert told([], ("4",))["--LabApp.default_url"] == f"/lab/tree/{LESSON}"
    assert "Your own copy is now 04_crash_lab-kept-1.ipynb." in capsys.readouterr().out
    assert (tmp_path / "widget-store-course" / "04_crash_lab-kept-1.ipynb").read_text(encoding="utf-8") == mine


@pytest.mark.usefixtures("_in")
@pytest.mark.parametrize("given", [["--ServerApp.ip=192.0.2.1"], ["--ip", "192.0.2.1"]])
def test_jupyterlab_listens_on_this_machine_only_unless_the_learner_says_otherwise(given: list[str]) -> None:
    assert told([])["--ServerApp.ip"] == "127.0.0.1"
    assert "--ServerApp.ip=127.0.0.1" not in jupyterlab.prepare(given, [])


@pytest.mark.usefixtures("_in")
def test_what_is_not_ours_goes_to_jupyterlab(tmp_path: Path) -> None:
    more = ["--no-browser", "--port", "8890", "--LabApp.collaborative=True"]
    arguments = jupyterlab.prepare(["my course", *more], [])
    assert arguments[-4:] == more
    assert f"--ServerApp.root_dir={tmp_path / 'my course'}" in arguments
    assert jupyterlab.prepare(more, [])[-4:] == more
    assert (tmp_path / "widget-store-course").is_dir(), "8890 is no folder"


@pytest.mark.usefixtures("_in")
@pytest.mark.parametrize("given", [["--ServerApp.root_dir={}"], ["--ServerApp.root_dir", "{}"], ["--notebook-dir={}"]])
def test_the_learner_s_own_root_has_the_lesson_below_it(given: list[str], tmp_path: Path) -> None:
    folder = "50% ü #1? [a b]"
    said = told([folder, *(word.format(tmp_path) for word in given)])
    assert "--ServerApp.root_dir" not in said or said["--ServerApp.root_dir"] in {"", str(tmp_path)}
    assert said["--LabApp.default_url"] == "/lab/tree/50%25%20%C3%BC%20%231%3F%20%5Ba%20b%5D/00_start_here.ipynb"


@pytest.mark.usefixtures("_in")
def test_a_root_that_does_not_hold_the_course_has_no_lesson_to_open(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert "--LabApp.default_url" not in told(["course", f"--notebook-dir={tmp_path / 'elsewhere'}"])


@pytest.mark.slow("starts processes")
def test_the_command_takes_its_own_words_and_leaves_the_rest(tmp_path: Path) -> None:
    ended = lab("--fresh", "04", "my course", "--fresh=05", "--no-browser", "--port", "8890", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert f"The course is in {tmp_path / 'my course'}." in ended.stdout
    assert ended.stdout.count("is a new copy.") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["my course"]


@pytest.mark.slow("starts a process")
def test_a_learner_s_file_with_the_name_of_a_module_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('imported')")
    command = [sys.executable, "-P", "-m", "widget_store", "lab", "--version"]  # as the script in bin does
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow("starts processes")
def test_progress_is_read_from_the_copy(copy: Path) -> None:
    (copy / "work" / "progress.json").write_text('{"two_customers": "SOLVED"}')
    command = [sys.executable, "-m", "widget_store", "progress"]
    for arguments, folder in (([str(copy)], copy.parent), ([], copy)):
        ended = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert "  ✔ two_customers:" in ended.stdout, ended.stderr
        assert f"1 of {len(all_exercises())} solved in {copy}." in ended.stdout
