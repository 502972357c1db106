"""A store as a notebook has it, on each database."""

from collections.abc import Iterator

import pytest

from widget_store.lab import Store


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WIDGET_STORE_DATA_DIR", str(folder))
        environment.delenv("WIDGET_STORE_DATABASE_URL", raising=False)
        if request.param == "sqlite":
            environment.setenv("WIDGET_STORE_DATABASE_URL", f"sqlite:///{folder / 'store.sqlite'}")
        with Store(dispatch_interval=0.01) as running:
            yield running
