"""Servers end with the tests that started them, whatever ended those."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import alive

from servers.apart import TESTS, run
from servers.redis_server import Redis

STARTS = """
import sys
from pathlib import Path
from servers.postgresql import Postgres
from servers.apart import TESTS, run
from servers.redis_server import Redis

with Postgres(Path(sys.argv[1], "postgres")) as postgres, Redis(Path(sys.argv[1], "redis")) as redis:
    print(*postgres.family(), *redis.family(), flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_they_end_with_a_run_that_is_killed(server_ground: Path, redis_server: Redis) -> None:
    command = [sys.executable, "-c", STARTS, str(server_ground)]
    with subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        pids = [int(pid) for pid in tests.stdout.readline().split()]
        assert len(pids) > 5 and all(map(alive, pids))
        tests.send_signal(signal.SIGKILL)
    redis_server.until(lambda: not any(map(alive, pids)), "outlives those of another run")


def test_a_failure_shows_the_log(tmp_path: Path) -> None:
    failing = "def test_fails(redis_server):\n    redis_server.ask('CONFIG', 'RESETSTAT')\n    assert False\n"
    done = run(tmp_path, failing)
    assert done.returncode == 1
    assert "Ready to accept connections" in done.stdout


def test_an_error_carries_the_log(server_ground: Path) -> None:
    with pytest.raises(ZeroDivisionError) as error, Redis(server_ground / "redis"):
        1 / 0  # noqa: B018
    [note] = error.value.__notes__
    assert "Ready to accept connections" in note
