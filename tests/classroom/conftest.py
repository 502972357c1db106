"""What the tests of the workshop share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import browser  # noqa: F401 - a fixture
from tests.classroom.learners import new_page


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:  # noqa: F811
    yield from new_page(browser)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    from certipy import Certipy

    authority = Certipy(store_dir=str(tmp_path_factory.mktemp("authority")))
    authority.create_ca("authority")
    files = authority.create_signed_pair("hub", "authority", alt_names=["IP:127.0.0.1"])["files"]
    return Path(files["cert"]), Path(files["key"])
