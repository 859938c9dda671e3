"""Under ``pytest -n`` nothing that loads a server runs beside another such test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers.apart import harness
from workers import LOADED, SHARING

pytestmark = pytest.mark.slow

MANY = """
import os
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range(10))
def test(number):
    with Path("workers").open("a") as workers:
        print(os.environ["PYTEST_XDIST_WORKER"], file=workers)
"""


def workers_of(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Who ran ten tests of each of these modules, beside another test."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(MANY)
    harness(folder / "tests")
    (folder / "tests" / "test_rest.py").write_text("def test():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--rootdir", "."]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "tests"], cwd=folder, env=clean, capture_output=True, text=True, timeout=60
    )
    assert f"{10 * len(names) + 1} passed" in done.stdout, done.stdout + done.stderr
    workers = (folder / "workers").read_text().split()
    assert len(workers) == 10 * len(names)
    return workers


def test_loads_share_a_worker(tmp_path: Path) -> None:
    assert len(set(workers_of(tmp_path, LOADED))) == 1


def test_a_module_that_shares_is_on_one_worker(tmp_path: Path) -> None:
    assert len(set(workers_of(tmp_path, (f"{SHARING[0]}test_one.py",)))) == 1


def test_what_is_loaded_is_there() -> None:
    root = Path(__file__).parents[1]
    assert all((root / name).is_file() for name in LOADED)
    assert all((root / name).is_dir() for name in SHARING)
