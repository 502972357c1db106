"""What holds for tests and notebooks alike; the fixtures of the tests are in tests/conftest.py."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, and the cells of a notebook in their order, also where pytest-randomly shuffles the tests.

    With xdist, `--dist=loadfile` keeps a file in one process: begun last, a long one would leave the other cores idle.
    """
    cells = [item for item in items if item.path.suffix == ".ipynb"]
    in_browser = [item for item in items if item.get_closest_marker("browser")]
    tests = [item for item in items if item not in {*cells, *in_browser}]
    items[:] = [*in_browser, *sorted(cells, key=lambda cell: (cell.path, cell.cell_num)), *tests]  # type: ignore[attr-defined]
