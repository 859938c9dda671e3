"""The servers that are measured, each a process of its own on a core of its own choosing: ours, the empty
endpoint, and nginx where there is one."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from msgspec import Struct

from adserver.bench import client, paced
from adserver.bench.measure import processor_s

READY_S: Final = 150.0
"""Until the first answer: a large catalogue is compiled before."""
_STOP_S: Final = 30.0
_NGINX: Final = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type application/json;
    server {{ listen {host}:{port}; location / {{ return 200 "{body}"; }} }}
}}
"""


class Speed(Struct, frozen=True):
    """Of one kind of request, over rounds: the median of requests per second, and of the server's processor
    time each."""

    per_second: float
    processor_us: float


class Pace(Struct, frozen=True):
    """An open loop's times in µs, from due to answered: medians over rounds of each percentile."""

    per_second: float
    median_us: float
    p99_us: float
    p999_us: float


class Server:
    """A server's process, and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.pid = process.pid
        self.port = port
        self.rounds: dict[str, list[Speed]] = {}
        self._paced: list[paced.Paced] = []
        self.failed = 0

    def play(
        self, kind: str, requests: list[bytes], seconds: float, kept: int = 0,
        connections: int = client.CONNECTIONS,
    ) -> client.Round:  # fmt: skip
        """A round; what it took is remembered under ``kind``."""
        found, used_s = self.asked(requests, seconds, kept, connections)
        each = 1e6 / max(found.requests, 1)
        self.rounds.setdefault(kind, []).append(Speed(found.per_second, used_s * each))
        return found

    def asked(
        self, requests: list[bytes], seconds: float, kept: int = 0, connections: int = client.CONNECTIONS
    ) -> tuple[client.Round, float]:
        """A round, and the processor time of this process in it."""
        before = processor_s(self.pid)
        found = client.play(self.port, requests, seconds, kept, connections)
        self.failed += found.failed
        return found, processor_s(self.pid) - before

    def play_paced(self, requests: list[bytes], per_second: float, seconds: float) -> None:
        found = paced.paced(self.port, requests, per_second, seconds)
        self._paced.append(found)
        self.failed += found.failed

    def pace(self) -> Pace:
        times = [found.times for found in self._paced]
        return Pace(
            round(median(found.per_second for found in self._paced), 1),
            round(median(time.median_us for time in times), 1),
            round(median(time.p99_us for time in times), 1),
            round(median(time.p999_us for time in times), 1),
        )

    def speed(self, kind: str) -> Speed:
        rounds = self.rounds[kind]
        return Speed(
            round(median(found.per_second for found in rounds), 1),
            round(median(found.processor_us for found in rounds), 1),
        )


@contextmanager
def serving(
    kind: str, folder: Path, line_items: int, reply_bytes: int, core: int, redis: str = ""
) -> Iterator[Server]:
    listening = socket.create_server((client.HOST, 0), backlog=2048)
    number = listening.fileno()
    log = folder / f"{kind}.log"
    command = [
        sys.executable, "-m", "adserver.bench", kind, "--socket", str(number), "--data", str(folder / kind),
        "--line-items", str(line_items), "--reply-bytes", str(reply_bytes),
        "--redis", redis,
    ]  # fmt: skip
    with log.open("wb") as told:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=told, stderr=told, pass_fds=[number]
        )
    port = listening.getsockname()[1]
    listening.close()
    os.sched_setaffinity(process.pid, {core})
    try:
        yield Server(process, port)
    finally:
        _stop(process)


@contextmanager
def nginx(folder: Path, reply_bytes: int, core: int) -> Iterator[Server | None]:
    """``return 200`` with a body of this size, in one process; None where nginx is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        yield None
        return
    home = folder / "nginx"
    home.mkdir()
    with socket.create_server((client.HOST, 0)) as free:
        port = free.getsockname()[1]
    (home / "nginx.conf").write_text(_NGINX.format(host=client.HOST, port=port, body="x" * reply_bytes))
    with (home / "log").open("wb") as told:
        command = [program, "-p", str(home), "-c", str(home / "nginx.conf")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
    os.sched_setaffinity(process.pid, {core})
    try:
        yield Server(process, port)
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """By closing its standard input; if that does not help, at once."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
