"""A learner's file: what it may define, and how a mistake in it is told."""

from pathlib import Path

import pytest

from tests.support import new_key
from widget_store.errors import AppFileError
from widget_store.serving.application import load_application


def a_file(folder: Path, text: str, name: str = "") -> Path:
    file = folder / f"{name or f'shop_{new_key()}'}.py"
    file.write_text(text)
    return file


def test_endpoints_may_sell_without_a_workflow(tmp_path: Path) -> None:
    application = load_application(a_file(tmp_path, "from fastapi import APIRouter\nrouter = APIRouter()\n"))
    assert application.router is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "defines no checkout_workflow"),
        ("checkout_workflow = 7", "defines no checkout_workflow"),
        ("def checkout_workflow(key): ...\nrouter = 7", "defines a router that is not a fastapi.APIRouter"),
        ("def checkout_workflow(key): ...\nINVARIANTS = [7]", "INVARIANTS is not a list of functions"),
        ("1 / 0", "can't be run: ZeroDivisionError"),
        ("def (", "can't be run: SyntaxError"),
    ],
)
def test_a_file_that_is_of_no_use_is_told(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(AppFileError, match=says):
        load_application(a_file(tmp_path, text))


@pytest.mark.parametrize("name", ["dbos", "random", "widget_store"])
def test_a_file_may_not_take_the_place_of_another_module(tmp_path: Path, name: str) -> None:
    with pytest.raises(AppFileError, match="has the name of another Python module"):
        load_application(a_file(tmp_path, "def checkout_workflow(key): ...", name))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AppFileError, match="There is no Python file"):
        load_application(tmp_path / "missing_shop.py")
