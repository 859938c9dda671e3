"""Where a program is not installed: a loud skip, and a failure where all that can be tested must be."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from servers.apart import run

ASKING = """
from pathlib import Path

import pytest
from servers import programs

programs.POSTGRES_HOMES = Path("nowhere")


def test_postgresql(database):
    raise AssertionError


def test_redis(redis_server):
    raise AssertionError


def test_another(redis_server):
    raise AssertionError


def test_neither():
    pass


def test_otherwise():
    pytest.skip("no reason to tell of")
"""


def asked(folder: Path, *flags: str, **environ: str) -> CompletedProcess[str]:
    """By tests, of a machine that has none of these programs."""
    return run(folder, ASKING, *flags, PATH=str(folder), **environ)


@pytest.mark.parametrize("flags", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_what_is_not_tested_is_said(tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = asked(tmp_path, *flags)
    assert done.returncode == 0
    assert "1 passed, 4 skipped" in done.stdout
    _, section, told = done.stdout.partition("NOT EVERYTHING WAS TESTED")
    assert section
    assert "1 skipped: not tested: no PostgreSQL is installed" in told
    assert "2 skipped: not tested: no Redis is installed" in told
    assert "no reason to tell of" not in told


def test_in_continuous_integration_it_fails(tmp_path: Path) -> None:
    done = asked(tmp_path, CI="true")
    assert done.returncode == 1
    assert all(count in done.stdout for count in ("1 passed", "1 skipped", "3 errors"))
    assert "not tested: no Redis is installed here (`make servers` installs it)" in done.stdout


def test_where_all_is_tested_nothing_is_said(tmp_path: Path) -> None:
    done = asked(tmp_path, "-k", "neither or otherwise")
    assert done.returncode == 0
    assert "NOT EVERYTHING" not in done.stdout
