"""The load test passes on the sound server, and fails, naming the law, on servers broken on purpose."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LAWS = {"feeds": "1 feed cap", "caps": "2 frequency cap", "budgets": "3 budget"}
pytestmark = pytest.mark.slow


def load(work: Path, *flags: str) -> tuple[int, str]:
    """(exit code, output) of a short load test of the small world."""
    command = [sys.executable, "loadtests/run.py", "--seconds", "5", "--users", "16", "--people", "25"]
    folders = ["--campaigns", str(HERE / "world"), "--work", str(work)]
    done = subprocess.run(
        [*command, *folders, *flags], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    return done.returncode, done.stdout + done.stderr


def broken(output: str) -> set[str]:
    return set(re.findall(r"Law (.+): BROKEN", output))


def number(output: str, what: str) -> int:
    """The figure printed for ``what``."""
    found = re.search(rf"([\d,]+)\s+{what}\s*\n", output)
    assert found is not None, output
    return int(found[1].replace(",", ""))


def test_sound_server_passes(tmp_path: Path) -> None:
    code, output = load(tmp_path)
    assert code == 0, output
    assert not broken(output)
    for what in ("sponsored", "caps reached", "budgets spent", "changes"):
        assert number(output, what) > 0, output


@pytest.mark.parametrize("law", LAWS)
def test_broken_law_is_found_and_named(law: str, tmp_path: Path) -> None:
    server = shlex.join([sys.executable, str(HERE / "broken_server.py"), law])
    code, output = load(tmp_path, "--adserver", server)
    assert code == 1, output
    assert broken(output) == {LAWS[law]}, output
