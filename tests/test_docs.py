"""What the documents say of settings, commands and files is so."""

import argparse
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.tools.notebooks import all_notebooks, imported_from_the_kit
from tests.tools.readme_pictures import PICTURES as README_PICTURES
from widget_store.cli import _parser
from widget_store.course.checks import all_exercises
from widget_store.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "INSTRUCTORS.md", "SECURITY.md", "CHANGELOG.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))),
]
REFERENCE, OPERATIONS = "docs/reference.md", "docs/operations.md"


def rows(heading: str, document: str) -> list[list[str]]:
    """The cells of the table under a heading of a document, its head left out."""
    section = (ROOT / document).read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return lines[1:]


def test_the_reference_has_every_setting_with_its_default() -> None:
    told = {cells[0].strip("`"): cells[1] for cells in rows("Settings", REFERENCE)}
    assert list(told) == [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, float):
            assert float(told[f"{PREFIX}{name.upper()}"]) == field.default


def test_the_reference_has_every_command() -> None:
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    assert [cells[0].strip("`") for cells in rows("Commands", REFERENCE)] == list(commands.choices)


def blocks(language: str, document: str) -> list[str]:
    """The blocks of a document in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


def block(language: str, document: str) -> str:
    """The one block of a document in a language."""
    (text,) = blocks(language, document)
    return text


def test_the_recipe_for_a_container_starts_a_store_with_options_it_has() -> None:
    lines = block("dockerfile", OPERATIONS).splitlines()
    (command,) = (json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD "))
    assert command[0] == "widget-store"
    options = _parser().parse_args(command[1:])
    assert f"EXPOSE {options.port}" in lines
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_recipe_for_kubernetes_fits_the_store() -> None:
    deployment, service = yaml.safe_load_all(block("yaml", OPERATIONS))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = (each["containerPort"] for each in container["ports"])
    assert [variable["name"] for variable in container["env"]] == [f"{PREFIX}DATABASE_URL"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": port}
    assert [each["targetPort"] for each in service["spec"]["ports"]] == [port]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


def test_the_workflow_for_ci_runs_the_lines_of_the_shell_on_databases_that_are_accepted() -> None:
    job = yaml.safe_load(block("yaml", "docs/your-own-ci.md"))["jobs"]["nbval"]
    lines = [step["run"] for step in job["steps"] if "run" in step]
    assert lines == blocks("sh", "docs/your-own-ci.md")[0].splitlines()
    (extra,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["nbval"]
    assert f'"{extra}"' in lines[1]
    for url in [each["url"] for each in job["strategy"]["matrix"]["include"] if each["url"]]:
        assert Settings(database_url=url).database_url == url


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_leads_somewhere(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text())
    assert [target for target in targets if "://" not in target and not (path.parent / target).exists()] == []


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md"])
def test_a_document_names_only_files_that_exist(document: str) -> None:
    named = re.findall(r"`((?:widget_store|tests|notebooks)/[\w/.]+)`", (ROOT / document).read_text())
    assert named
    to_be_filled_in = re.compile("NN_|NAME")
    assert [name for name in named if not to_be_filled_in.search(name) and not (ROOT / name).exists()] == []


def test_the_readme_has_every_notebook_in_its_order_and_counts_the_exercises() -> None:
    told = [match[1] for row in rows("The course", "README.md") if (match := re.search(r"\((notebooks/.+?)\)", row[0]))]
    assert told == [f"notebooks/{lesson.name}" for lesson in all_notebooks()]
    assert f"Their {len(all_exercises())} exercises" in (ROOT / "README.md").read_text()


def test_the_reference_of_python_has_every_name_that_a_lesson_imports() -> None:
    text = (ROOT / "docs" / "python.md").read_text()
    told = set(re.findall(r"^\.\. auto(?:function|class|data|exception):: ([\w.]+)", text, re.MULTILINE))
    for module, names in re.findall(r"^\.\. automodule:: ([\w.]+)\n   :members: (.+)$", text, re.MULTILINE):
        told |= {f"{module}.{name}" for name in names.split(", ")}
    used = imported_from_the_kit()
    assert {"widget_store.lab.Store", "widget_store.doctor.summary", "widget_store.workflows.pace"} <= used
    assert sorted(used - told) == []


def test_the_readme_shows_a_crash_and_then_its_recovery_in_words_too_and_in_small_files() -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert [ROOT / file for _, file in shown] == list(README_PICTURES)
    (crash, _), (recovery, _) = shown
    assert "dead" in crash
    assert "DISPATCHED" in recovery
    assert sum(file.stat().st_size for file in README_PICTURES) < 250_000
    for file in README_PICTURES:
        with Image.open(file) as picture:
            assert picture.mode == "P", "a palette: it is a third of the size"


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["authors"] == project["authors"]
    assert " AND ".join(citation["license"]) == project["license"]
