"""That the benchmarks run and say what they measured; how fast the store is, is no business of a test."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow("starts, kills and stops several stores")
def test_a_quick_run_gives_every_figure_its_unit_and_floor() -> None:
    command = [sys.executable, "-m", "widget_store.lab.bench", "--json", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

    figures = json.loads(done.stdout)
    names = [figure["name"] for figure in figures]
    assert len(set(names)) == len(names) >= 9
    for call in ("buy", "pay"):  # with nothing else going on, and as a busy store answers
        assert {f"{call}, one customer, store at rest", f"{call}, one customer, dispatching"} <= set(names)
    for figure in figures:
        assert set(figure) == {"name", "value", "unit", "floor", "ratio"}
        assert figure["value"] > 0
        assert figure["unit"] in {"s", "ms", "MB"}
        assert (figure["floor"] is None) == (figure["ratio"] is None)
