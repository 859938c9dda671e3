"""``server``: a base URL's worth of the wire, really listening."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_server import Wire, World, served


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


@pytest.fixture
def small_server(world: World) -> Iterator[Wire]:
    with served(world) as wire:
        yield wire


@pytest.fixture
def server(small_server: Wire) -> Wire:
    return small_server
