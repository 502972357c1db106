"""A learner's own tests, run in a notebook."""

from pathlib import Path

import pytest

from widget_store.lab.own_tests import outcome_of_tests, run_tests

pytestmark = pytest.mark.slow("starts pytest")


def test_the_outcome_has_no_times_and_is_the_same_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "test_two.py"
    file.write_text("def test_one():\n    assert True\n\n\ndef test_two():\n    assert 1 == 2\n")
    run_tests(file, "--tb=no")
    first = capsys.readouterr().out
    run_tests(file, "--tb=no")
    assert capsys.readouterr().out == first
    assert first.splitlines()[-1] == "1 failed, 1 passed"


def test_nobody_elses_settings_of_pytest_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError")
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    assert outcome_of_tests(tmp_path / "test_one.py")[0] == 0


def test_a_file_that_can_not_be_imported_fails(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("import no_such_module")
    status, said = outcome_of_tests(tmp_path / "test_one.py")
    assert status
    assert "no_such_module" in said
