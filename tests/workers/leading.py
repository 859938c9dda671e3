"""A parent in a process of its own with small workers (``fake_worker``), and clients that stay connected."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from processes import workers_of
from servers.server import free_port

HERE = Path(__file__).resolve().parent
PATHS = os.pathsep.join(map(str, (HERE, HERE.parent, HERE.parent / "api")))
PROGRAM = """
import sys
from pathlib import Path
from adserver.serving import CannotServe
from adserver.settings import Settings
from adserver.workers.parent import serve
data, port, workers, keep_alive, campaigns, module = sys.argv[1:]
folder = Path(campaigns) if campaigns else None
workers, port, keep_alive = int(workers), int(port), int(keep_alive)
settings = Settings(folder, Path(data), port=port, keep_alive_seconds=keep_alive, workers=workers)
try:
    serve(settings, module)
except CannotServe as error:
    sys.exit(f"adserver: {error}")
"""
WITHIN_S = 60.0
ASK = json.dumps({"placements": [{"id": "home-top"}]}).encode()


class Parent:
    """``with Parent(data, 2) as crew``: they serve when it is entered."""

    def __init__(
        self, data: Path, workers: int, campaigns: Path | None = None, keep_alive_s: int = 75,
        module: str = "fake_worker",
    ) -> None:  # fmt: skip
        self.data = data
        self.workers = workers
        self.module = module
        self.environment = dict[str, str]()
        self.port = free_port()
        self.log = data.parent / f"{data.name}.log"
        self._arguments = [
            str(data),
            str(self.port),
            str(workers),
            str(keep_alive_s),
            str(campaigns or ""),
            module,
        ]
        self.process: subprocess.Popen[bytes]

    def command(self) -> list[str]:
        return [sys.executable, "-c", PROGRAM, *self._arguments]

    def surroundings(self) -> dict[str, str]:
        """Its environment."""
        return os.environ | {"PYTHONPATH": PATHS, "FAKE_DATA": str(self.data)} | self.environment

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), env=self.surroundings(), stdout=log, stderr=log)

    def __enter__(self) -> Self:
        self.start()
        try:
            until(lambda: len(self.up()) == self.workers or self._ended())
            assert not self._ended(), self.log.read_text()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WITHIN_S)

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)

    # -- asking ------------------------------------------------------------------------------------

    def pids(self) -> set[int]:
        """Of the workers: children of the parent that run the program."""
        return set(workers_of(self.process.pid, self.module))

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def answering(self) -> int:
        """The pid of a worker, on a connection of its own."""
        with Kept(self.port) as kept:
            return kept.ask()[0]

    def metrics(self) -> dict[str, float]:
        status, body = self.get("/metrics")
        assert status == 200, body
        samples = (line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def up(self) -> list[int]:
        """Which workers serve."""
        try:
            found = self.metrics()
        except (OSError, AssertionError, http.client.HTTPException):
            return []
        return [k for k in range(self.workers) if found.get(f'adserver_worker_up{{worker="{k}"}}')]

    def decisions(self) -> float:
        return self.metrics()["adserver_decision_seconds_count"]


class Kept:
    """A client that keeps its connection as HTTP/1.1 has it: a new one only after an answer that says so."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None
        self.opened = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def is_new(self) -> bool:
        """Whether the next request is the first on a connection."""
        return self._connection is None

    def ask(self) -> tuple[int, int]:
        """(pid, revision) of who answered a decision. Raises whatever fails."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WITHIN_S)
            self.opened += 1
        self._connection.request("POST", "/v1/decisions", ASK, {"content-type": "application/json"})
        response = self._connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        if response.headers.get("connection") == "close":
            self.close()
        pid, revision = json.loads(body)["snapshot"].split()
        return int(pid), int(revision)


class Load:
    """Threads that ask without end, each on a connection that it keeps, every second one for 20 requests.
    ``failures``: (pid that answered last on that connection, error); 0: nobody had yet."""

    def __init__(self, port: int, clients: int) -> None:
        self.failures: list[tuple[int, Exception]] = []
        self.answers = 0
        self.pids: set[int] = set()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port, n % 2)) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(WITHIN_S)

    def _ask(self, port: int, changes: int) -> None:
        kept, last, asked = Kept(port), 0, 0
        while not self._over.is_set():
            try:
                if kept.is_new:
                    last = 0
                last, _ = kept.ask()
                self.answers += 1
                self.pids.add(last)
            # Whatever it is, it is a request that failed.
            except Exception as error:
                self.failures.append((last, error))
                kept.close()
            asked += 1
            if changes and asked % 20 == 0:
                kept.close()
            time.sleep(0.002)
        kept.close()


def until(true: Callable[[], Any], within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
