"""Under ``pytest -n`` nothing that loads a server runs beside another such test."""

import os
import subprocess
import sys
from pathlib import Path

from servers.apart import harness
from workers import LOADED

MANY = """
import os
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range(10))
def test(number):
    with Path("workers").open("a") as workers:
        print(os.environ["PYTEST_XDIST_WORKER"], file=workers)
"""


def test_loads_share_a_worker(tmp_path: Path) -> None:
    for name in LOADED:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(MANY)
    tests = tmp_path / "tests"
    harness(tests)
    (tests / "test_rest.py").write_text("def test():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--rootdir", "."]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "tests"], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=60
    )
    assert "41 passed" in done.stdout, done.stdout + done.stderr
    workers = (tmp_path / "workers").read_text().split()
    assert len(workers) == 40
    assert len(set(workers)) == 1, workers


def test_what_is_loaded_is_there() -> None:
    root = Path(__file__).parents[1]
    assert all((root / name).is_file() for name in LOADED)
