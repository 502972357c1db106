"""A store as a notebook has it, on each database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import new_key
from widget_store.lab import Store


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
