"""A server that is composed and not served, for what configuration is compared with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adserver.app import App
from adserver.settings import Settings


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(Settings(data=Path(tmp_path_factory.mktemp("app"))))
    yield app
    app.close()
