"""The arrow import-linter cannot see: nothing in a notebook constructs or launches DBOS; a child process does.

The other arrows are contracts in pyproject.toml, checked by `make check`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

KIT = Path(__file__).parents[1] / "widget_store"
IN_A_NOTEBOOK = [module for room in ("lab", "course", "benchmarks") for module in sorted((KIT / room).rglob("*.py"))]


def uses_of_dbos(source: str) -> Iterator[str]:
    """Yield the code of each place that gets hold of the class DBOS."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "dbos":
                taken = any(name.name in {"DBOS", "*"} for name in names)
            case ast.Attribute(attr="DBOS") | ast.Name(id="DBOS"):
                taken = True
            case _:
                taken = False
        if taken:
            yield ast.unparse(node)


@pytest.mark.parametrize("module", IN_A_NOTEBOOK, ids=lambda path: path.relative_to(KIT).as_posix())
def test_a_notebook_never_gets_hold_of_dbos(module: Path) -> None:
    assert list(uses_of_dbos(module.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "from dbos import DBOS",
        "from dbos import DBOS as Engine, DBOSClient",
        "from dbos import *",
        "from dbos._dbos import DBOS",
        "import dbos\ndbos.DBOS(config={})",
        "import dbos as d\nd.DBOS.launch()",
        "DBOS.launch()",
    ],
)
def test_every_way_to_get_hold_of_dbos_is_noticed(source: str) -> None:
    assert list(uses_of_dbos(source))


@pytest.mark.parametrize("source", ["from dbos import DBOSClient", "import dbos\ndbos.DBOSClient", "# DBOS"])
def test_looking_through_a_client_is_allowed(source: str) -> None:
    assert not list(uses_of_dbos(source))


def private_uses(source: str) -> Iterator[str]:
    """Yield what a module takes from a private module of DBOS; types do not count."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module)) if module.startswith("dbos._"):
                yield module
            case ast.Attribute(attr="_sys_db" | "_registry" | "_launched"):
                yield node.attr


ELSEWHERE = [
    module for module in sorted(KIT.rglob("*.py")) if module.name not in {"dbos_internals.py", "exactly_once.py"}
]


@pytest.mark.parametrize("module", ELSEWHERE, ids=lambda path: path.relative_to(KIT).as_posix())
def test_what_is_private_to_dbos_is_taken_in_one_module(module: Path) -> None:
    assert list(private_uses(module.read_text(encoding="utf-8"))) == []


def test_a_use_of_what_is_private_is_noticed() -> None:
    assert list(private_uses("from dbos._dbos import x\nclient._sys_db.y()")) == ["dbos._dbos", "_sys_db"]
