"""Where the servers' programs are, and what becomes of a test where they are not."""

import os
import shutil
import sys
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


def nginx() -> Path:
    # Where Debian keeps it, which is not on everybody's PATH.
    return _on_path("nginx", "nginx", f"{os.environ.get('PATH', '')}:/usr/sbin")


def openssl() -> Path:
    # Python's own installers bring none, Debian's base system does.
    return _on_path("openssl", "openssl", must=False)


def promtool() -> Path:
    return _on_path("promtool", "promtool (of Prometheus)")


def prometheus() -> Path:
    return _on_path("prometheus", "Prometheus")


def kubectl() -> Path:
    # Debian 12 has none that reads today's kustomizations, so its absence fails nowhere.
    return _on_path("kubectl", "kubectl", must=False)


def systemd_analyze() -> Path:
    return _on_path("systemd-analyze", "systemd", must=False)


def hadolint() -> Path:
    """Installed with what development needs, where there is one."""
    return _on_path("hadolint", "hadolint", str(Path(sys.executable).parent), must=False)


def setpriv() -> Path:
    return _on_path("setpriv", "setpriv (of Linux)")


def _on_path(program: str, what: str, path: str | None = None, must: bool = True) -> Path:
    """``must``: ``make servers`` can install it."""
    found = shutil.which(program, path=path)
    if found is None and not must:
        pytest.skip(f"{NOT_TESTED}{what} is installed here")
    return Path(found) if found else _missing(what)


def _missing(what: str) -> NoReturn:
    """Skips the test, and fails it where all that can be tested must be."""
    reason = f"{NOT_TESTED}{what} is installed here (`make servers` installs it)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
