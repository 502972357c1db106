"""A store as a notebook has it, on each database; and crash tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import new_key
from widget_store.crashtest.results import Report
from widget_store.databases import Database
from widget_store.lab import Store
from widget_store.lab.crash_test import Plan, crash_test
from widget_store.lab.scenarios import SCENARIOS
from widget_store.settings import Settings


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def store(request: pytest.FixtureRequest, public_folder: Path) -> Iterator[Store]:
    folder = public_folder / new_key()
    folder.mkdir()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WIDGET_STORE_DATA_DIR", str(folder))
        environment.delenv("WIDGET_STORE_DATABASE_URL", raising=False)
        if request.param == "sqlite":
            environment.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{folder / 'store.sqlite'}")
        with Store(dispatch_interval=0.01) as running:
            yield running


@pytest.fixture(scope="module")
def crash(new_database: Callable[[str], Database]) -> Callable[..., Report]:
    """Runs a crash test on a kind of database, one run at a time: the tests go side by side already."""

    def test(*scenarios: str, backend: str = "postgresql", app: Path | None = None, **plan: object) -> Report:
        chosen = tuple(SCENARIOS[name] for name in scenarios)
        settings = Settings(database_url=new_database(backend).url)
        return crash_test(Plan(app_file=app, scenarios=chosen, jobs=1, **plan), settings)  # type: ignore[arg-type]

    return test
