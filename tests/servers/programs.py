"""Where the servers' programs are, and what becomes of a test where they are not."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

POSTGRES_HOMES = Path("/usr/lib/postgresql")
"""Debian keeps a folder for each version here, and none of them on PATH."""
NOT_TESTED = "not tested: no "
"""What the reason of such a skip begins with; the summary looks for it."""


def postgres(program: str) -> Path:
    """A program of the newest PostgreSQL that is installed."""
    homes = [home for home in POSTGRES_HOMES.glob("*/bin") if (home / program).exists()]
    if homes:
        return max(homes, key=lambda home: int(home.parent.name)) / program
    return _on_path(program, "PostgreSQL")


def redis() -> Path:
    return _on_path("redis-server", "Redis")


def setpriv() -> Path:
    return _on_path("setpriv", "setpriv (of Linux)")


def _on_path(program: str, what: str) -> Path:
    found = shutil.which(program)
    return Path(found) if found else _missing(what)


def _missing(what: str) -> NoReturn:
    """Skips the test, and fails it where all that can be tested must be."""
    reason = f"{NOT_TESTED}{what} is installed here (`make servers` installs it)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
