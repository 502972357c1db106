"""The set-up: one source of versions, locks that obey it, and a Makefile that says what it does."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterable
from importlib import metadata
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from widget_store.course.files import FIRST_LESSON
from widget_store.course.learners_copy import FOLDER

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
LOCKS = {
    "build": PYPROJECT["dependency-groups"]["build"],
    "embedded": PROJECT["optional-dependencies"]["embedded"],
    "lab": PROJECT["dependencies"],
    "test": PYPROJECT["dependency-groups"]["test"],
    "workshop": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["workshop"],
}


def by_name(requirements: Iterable[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, requirements)}


def lock_text(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


def pins(lock: str) -> dict[str, set[str]]:
    """The versions a lock pins, by name: more than one where they differ between Pythons."""
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,-]+\])?==(\S+)", lock_text(lock), re.MULTILINE):
        pinned.setdefault(canonicalize_name(name), set()).add(version)
    return pinned


def conda() -> tuple[dict[str, Requirement], list[str]]:
    """The environment's requirements by name, Python and pip included, and the paths pip installs."""
    *packages, from_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    paths = [line for line in from_pip["pip"] if line.startswith("-")]
    return by_name(packages + [line for line in from_pip["pip"] if line not in paths]), paths


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    for requirement in by_name(PROJECT["dependencies"]).values():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_requirement_within_its_bounds(lock: str) -> None:
    pinned = pins(lock)
    for name, requirement in by_name(LOCKS[lock]).items():
        assert name in pinned, f"requirements/{lock}.txt lacks {name}: make lock"
        assert list(requirement.specifier.filter(pinned[name])) == list(pinned[name]), "make lock"


def test_the_locks_keep_to_the_bounds_on_what_others_bring_along() -> None:
    bounds = (ROOT / "requirements" / "bounds.in").read_text().splitlines()
    for name, bound in by_name(line for line in bounds if not line.startswith("#")).items():
        pinned = set().union(*(pins(lock).get(name, set()) for lock in LOCKS))
        assert pinned, f"nobody brings {name} along any more: take it out of bounds.in"
        assert set(bound.specifier.filter(pinned)) == pinned, "make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_versions_and_hashes_and_no_place_to_find_them(lock: str) -> None:
    allowed = r"#.*|[a-z0-9._-]+(\[[a-z,-]+\])?==\S+( ; .*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
    lines = lock_text(lock).splitlines()
    assert [line for line in lines if not re.fullmatch(allowed, line) or "://" in line] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_never_disagrees_with_the_lab_s(lock: str) -> None:
    lab = pins("lab")
    assert {name: found for name, found in pins(lock).items() if not found <= lab.get(name, found)} == {}


def test_the_lab_s_lock_names_the_extras_that_its_packages_ask_for_since_older_pips_refuse_it_otherwise() -> None:
    pinned = dict(re.findall(r"^([a-z0-9._-]+)(?:\[([a-z,-]+)\])?==", lock_text("lab"), re.MULTILINE))
    asked = [Requirement(text) for name in pinned if is_installed(name) for text in metadata.requires(name) or ()]
    here = [need for need in asked if need.extras and (need.marker is None or need.marker.evaluate({"extra": ""}))]
    assert here
    for need in here:
        assert need.extras <= set(pinned[canonicalize_name(need.name)].split(",")), f"{need}: make lock"


def is_installed(name: str) -> bool:
    """Whether this platform has the package: some of a lock are for others."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_hosted_ci_calls_targets_that_exist_and_actions_by_their_commits() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    workflows = [path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    steps = [step for text in workflows for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
    called = [step["run"].split()[1] for step in steps if step.get("run", "").startswith("make ")]
    assert set(called) <= set(targets)
    assert [use for step in steps if (use := step.get("uses")) and not re.search("@[0-9a-f]{40}$", use)] == []
    assert called


def test_the_locked_build_backend_is_the_one_that_builds_the_package() -> None:
    (backend,) = PYPROJECT["build-system"]["requires"]
    assert backend in LOCKS["build"]


def test_the_extra_for_nbval_asks_for_the_same_version_as_the_tests() -> None:
    assert set(PROJECT["optional-dependencies"]["nbval"]) < set(LOCKS["test"])


def test_the_conda_environment_asks_for_the_same_versions_as_the_package() -> None:
    asked, paths = conda()
    del asked["python"], asked["pip"]
    assert asked == by_name(LOCKS["lab"] + LOCKS["embedded"])
    assert paths == ["-e ."]


def test_the_conda_environment_takes_the_pythons_the_package_was_tried_on() -> None:
    python = conda()[0]["python"].specifier
    tried = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert {f"3.{minor}" for minor in range(8, 20) if python.contains(f"3.{minor}")} == set(tried)
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(version) for version in tried)


def test_the_command_widget_store_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="widget-store")
    assert command.value == PROJECT["scripts"]["widget-store"]
    assert callable(command.load())


def test_make_help_has_a_sentence_for_every_target() -> None:
    phony, _parts_of_test = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make ([a-z-]+) +[A-Z].*\.$", told, re.MULTILINE) == phony.split()


def test_make_says_what_to_install_when_no_python_will_do(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    made = subprocess.run(
        ["make", "setup", "PYTHON=no-such-python false"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode != 0
    assert "apt install python3 python3-venv" in made.stderr
    assert "no-such-python" in made.stderr


def test_the_bytecode_of_what_setup_installs_is_there() -> None:
    """Without it every start of the store takes two seconds longer where Python may not write its own."""
    dbos = find_spec("dbos")
    assert dbos is not None
    bytecode = Path(str(dbos.cached))
    if not bytecode.is_relative_to(ROOT / ".venv"):
        pytest.skip("dbos was not installed by make")
    assert bytecode.exists()


def test_the_readme_names_every_direct_dependency() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README.md yet")
    text = readme.read_text().lower()
    assert [name for name in by_name(LOCKS["workshop"] + LOCKS["embedded"]) if name not in text] == []


def test_codespaces_opens_the_first_notebook_and_installs_as_everybody_does() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    (opened,) = container["customizations"]["codespaces"]["openFiles"]
    assert opened == f"{FOLDER}/{FIRST_LESSON}"
    assert container["postCreateCommand"].startswith("make setup && .venv/bin/widget-store lab ")
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).is_file()
