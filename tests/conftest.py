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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from workers import OneLoadAtATime

    return OneLoadAtATime(config, log) if config.getvalue("dist") == "load" else None
