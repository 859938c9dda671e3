"""Fixtures and paths shared by all tests."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Tests import the harnesses beside this file (``live``, ``world``) by name.
sys.path.insert(0, str(Path(__file__).resolve().parent))
pytest_plugins = ("servers.fixtures",)

# Properties that do not fix a number of examples are asked so often in `make long`, and in `make check`.
settings.register_profile("long", max_examples=10_000, deadline=None)
settings.register_profile("quick", max_examples=20, deadline=None)
# A slow machine is no wrong answer.
settings.register_profile("usual", deadline=None)
settings.load_profile("usual")


WHOLE = {"demo", "deploy", "faults", "servers", "workers"}
"""Folders of tests that start whole servers, kill them, or look from outside."""
STARTED = {"database", "postgres", "redis_cluster", "redis_server", "server_ground"}
"""Fixtures that start one of somebody else's."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts servers is slow, said once for all of it: `make check` leaves it out."""
    for item in items:
        starts = STARTED & set(getattr(item, "fixturenames", ())) or "[postgresql" in item.name
        if starts or item.path.parent.name in WHOLE:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from workers import OneLoadAtATime

    return OneLoadAtATime(config, log) if config.getvalue("dist") == "load" else None
