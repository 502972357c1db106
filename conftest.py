"""What holds for tests and notebooks alike; the fixtures of the tests are in tests/conftest.py."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the cells of a notebook top to bottom, also where pytest-randomly shuffles the tests.

    With xdist, `--dist=loadfile` keeps the cells of a notebook in one process, in this order.
    """
    cells = [item for item in items if item.path.suffix == ".ipynb"]
    tests = [item for item in items if item.path.suffix != ".ipynb"]
    items[:] = tests + sorted(cells, key=lambda cell: (cell.path, cell.cell_num))  # type: ignore[attr-defined]
