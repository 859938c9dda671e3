"""The server needs nothing that the unit, the image and the manifests take away."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from closed import NOT_ALLOWED
from live import LIVE_S, Live
from servers import programs
from servers.programs import NOT_TESTED
from visitors import CAMPAIGNS, question

pytestmark = pytest.mark.slow

CLOSED = Path(__file__).with_name("closed.py")
WRITES = "open('/tmp/adserver-written', 'w')"
EXECUTES = "__import__('mmap').mmap(-1, 4096, prot=7)"


@pytest.fixture
def closed(tmp_path: Path) -> list[str]:
    """What to put before a command that may write in ``tmp_path / "data"`` alone."""
    programs.setpriv()
    command = [sys.executable, str(CLOSED), str(tmp_path / "data")]
    if os.geteuid() != 0 or subprocess.run([*command, "true"], capture_output=True).returncode == NOT_ALLOWED:
        pytest.skip(f"{NOT_TESTED}right to close a process in")
    return command


@pytest.mark.parametrize("deed", [WRITES, EXECUTES])
def test_it_is_closed(closed: list[str], deed: str) -> None:
    done = subprocess.run([*closed, sys.executable, "-c", deed], capture_output=True, text=True)
    assert done.returncode == 1
    assert "OSError" in done.stderr or "PermissionError" in done.stderr


def test_it_serves_counts_builds_and_ends(tmp_path: Path, closed: list[str]) -> None:
    with Live(tmp_path / "data", None, [*closed, sys.executable, "-m", "adserver"]) as server:
        key = server.key()
        subprocess.run(
            [sys.executable, "-m", "adserver", "apply", str(CAMPAIGNS), "--data", str(server.data)],
            check=True,
        )
        ads: list[dict[str, str]] = []
        deadline = time.monotonic() + 3 * LIVE_S
        while not ads:
            assert time.monotonic() < deadline, "what was applied is not served"
            decided = server.post("/v1/decisions", question()).json().get("decisions", ())
            ads = [ad for placement in decided for ad in placement["ads"]]
        assert server.get(ads[0]["impression_url"]).headers["x-adserver-event"] == "accepted"
        day = "/v1/reports/delivery?from=2026-01-01&to=2026-01-02"
        assert server.get(day, authorization=f"Bearer {key}").status == 200
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()
        assert [*server.data.glob("checkpoint*")]
