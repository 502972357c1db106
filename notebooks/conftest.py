"""For `pytest --nbval`: a lesson is one program, so its cells run in their order, and one lesson after the other."""

from typing import Any

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the cells into their order, also where a plugin such as pytest-randomly shuffles tests."""
    items.sort(key=lambda item: (item.path, getattr(item, "cell_num", 0)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With pytest-xdist, give all lessons to one process: they share a database, which holds one store."""
    from xdist.scheduler import LoadScopeScheduling

    class InOneProcess(LoadScopeScheduling):
        def _split_scope(self, _nodeid: str) -> str:
            return "notebooks"

    return InOneProcess(config, log)
