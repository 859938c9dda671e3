"""What the set-up does where it has nothing to do, and where it can do nothing.

That it installs was seen in a copy of a machine: no test changes the machine it runs on.
"""

import subprocess
from pathlib import Path

import pytest

INSTALL = Path(__file__).with_name("install")
ALL = ("redis_server", "postgres", "nginx", "promtool", "chromium")
NEVER = "#!/bin/sh\necho $0 was called\n"
NOT_ROOT = "#!/bin/sh\necho 1000\n"
REFUSES = "#!/bin/sh\nexit 1\n"


def install(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """On a machine that has these programs."""
    for name, text in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(text)
        path.chmod(0o755)
    return subprocess.run(
        ["/bin/bash", INSTALL], env={"PATH": str(folder)}, capture_output=True, text=True, timeout=60
    )


def test_what_is_there_is_left_alone_in_silence(tmp_path: Path) -> None:
    done = install(tmp_path, **dict.fromkeys(ALL, NEVER), apt_get=NEVER, sudo=NEVER, id=NEVER)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ({}, "there is no apt here"),
        ({"apt_get": NEVER, "id": NOT_ROOT}, "only root may"),
        ({"apt_get": NEVER, "id": NOT_ROOT, "sudo": REFUSES}, "only root may"),
    ],
)
def test_where_it_can_do_nothing_it_says_so(tmp_path: Path, programs: dict[str, str], reason: str) -> None:
    done = install(tmp_path, **{name: NEVER for name in ALL if name != "redis_server"}, **programs)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"WARNING: cannot install redis-server: {reason}")
    assert done.stderr.rstrip().endswith("Tests that need them will be skipped.")
