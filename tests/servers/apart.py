"""A run of pytest apart from this one, with these fixtures and tests of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
_ALONGSIDE = ("conftest.py", "workers.py", "processes.py")
_RUN_S = 60


def harness(folder: Path) -> None:
    """Copy what ``conftest.py`` needs into a folder for tests."""
    for name in _ALONGSIDE:
        shutil.copy(TESTS / name, folder)
    shutil.copytree(TESTS / "servers", folder / "servers", ignore=shutil.ignore_patterns("test_*"))


def run(folder: Path, tests: str, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What becomes of ``tests``, the text of their file."""
    harness(folder)
    (folder / "test_apart.py").write_text(tests)
    pytest = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", ".")
    # A place of its own for temporary files: runs that share one warn when they tidy up at the same moment.
    own = ("--basetemp", str(folder / "temporary"))
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST_", "CI"))}
    return subprocess.run(
        [*pytest, *own, *flags, "test_apart.py"],
        cwd=folder, env=clean | environ, capture_output=True, text=True, timeout=_RUN_S,
    )  # fmt: skip
