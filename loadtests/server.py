"""The server under test: a process of its own on a free port of the loopback address, and calls to it."""

import http.client
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[1]
HOST: Final = "127.0.0.1"
_PORTS: Final = range(10_240, 32_768)
"""Below those of outgoing connections, any of which might have one when the server starts."""
_START_S: Final = 30.0
_STOP_S: Final = 30.0
_CALL_S: Final = 20.0
_KEY_S: Final = 2.5
"""A key is valid within 2 s (API.md section 6)."""


class Broken(RuntimeError):
    """The server did not start, did not stop, or refused what it must not."""


class Server:
    """``with Server(work, campaigns) as server``: started with empty books under ``work``, and ended with
    it. ``command``: what to run instead of ``adserver``; without ``campaigns`` the books that are there."""

    def __init__(
        self, work: Path, campaigns: Path | None, command: str = "", ready_s: float = _START_S,
        flags: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.data = work / "server"
        self.log = work / "server.log"
        self.port = _free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._campaigns = campaigns
        self._flags = flags
        self._ready_s = ready_s
        self._command = shlex.split(command) if command else [sys.executable, "-m", "adserver"]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        flags = ["--data", str(self.data), "--host", HOST, *self._flags]
        if self._campaigns is not None:
            flags += ["--campaigns", str(self._campaigns)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "serve", *flags, "--port", str(self.port)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=_environment(),
            )
        try:
            self._wait_ready()
        except Broken:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end and wait. Raises Broken if it does not, or not in peace."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired as error:
            raise Broken(f"the server did not end within {_STOP_S:g} s") from error
        # Servers of this kind restore the signal's own handler and end by it.
        if code not in (0, -signal.SIGTERM):
            raise Broken(f"the server ended with {code}:\n{self._tail()}")

    def key(self, *flags: str) -> str:
        """A new key. Waits until it is valid."""
        made = self.adserver("keys", "create", "--data", str(self.data), *flags)
        key = made.stdout.strip()
        deadline = time.monotonic() + _KEY_S
        while self.call("GET", "/v1/publishers", key=key)[0] == 401:
            if time.monotonic() > deadline:
                raise Broken(f"a new key is not valid after {_KEY_S} s: {made.stderr}")
            time.sleep(0.05)
        return key

    def adserver(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another of its commands."""
        return subprocess.run(
            [sys.executable, "-m", "adserver", *arguments],
            cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip

    def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        """(status, decoded body) of one request on a connection of its own. Raises OSError."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = json.dumps(body).encode()
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_CALL_S)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, _decoded(answer.read())
        finally:
            connection.close()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self._ready_s
        while time.monotonic() < deadline:
            if not self.running:
                raise Broken(f"the server ended at once:\n{self._tail()}")
            try:
                if self.call("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise Broken(f"the server was not ready within {self._ready_s:g} s:\n{self._tail()}")

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def _kill(self) -> None:
        if self._process is not None:
            if self.running:
                self._process.kill()
            self._process.wait()


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")


def _environment() -> dict[str, str]:
    """Ours, without settings of another server. The visitors are too few and too fast to be people."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ADSERVER_")}
    return ours | {"ADSERVER_RATE_PER_USER": "0/0", "ADSERVER_FASTEST_CLICK_MS": "0"}


def _free_port() -> int:
    """One that nobody listens on."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
