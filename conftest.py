"""What holds for tests and notebooks alike; the fixtures of the tests are in tests/conftest.py."""

from collections import Counter

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, and the cells of a notebook in their order, also where pytest-randomly shuffles the tests.

    With xdist, `--dist=loadfile` keeps a file in one process: begun last, a long one would leave the other cores idle.
    Left alone, xdist begins with the files of the most tests: `--no-loadscope-reorder` keeps this order.
    """
    cells = [item for item in items if item.path.suffix == ".ipynb"]
    in_browser = [item for item in items if item.get_closest_marker("browser")]
    tests = [item for item in items if item not in {*cells, *in_browser}]
    slow = Counter(item.path for item in tests if item.get_closest_marker("slow"))
    tests.sort(key=lambda item: -slow[item.path])
    items[:] = [*in_browser, *sorted(cells, key=lambda cell: (cell.path, cell.cell_num)), *tests]  # type: ignore[attr-defined]
