"""A real server in a process of its own, for tests: started on a free port, killed without mercy, started
again on the same directory."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from nursery import Born, bear
from servers.server import free_port

REPOSITORY = Path(__file__).resolve().parent.parent
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
TIRELESS = {
    "ADSERVER_RATE_PER_USER": "0/0",
    "ADSERVER_FASTEST_CLICK_MS": "0",
    "ADSERVER_SEGMENT_BYTES": str(8 << 20),
}
"""Tests do in seconds what people do in hours, and begin again and again: whoever was killed reads its last
segment to the end. Flags say otherwise."""
_START_S = 90.0
LIVE_S = 2.0 * 10
"""In which a change is live: two seconds, ten times that on a machine that has other things to do. For those
who look until it is."""
_END_S = 90.0
"""More than `limits.END_S`, in which a server that was told to end is gone, whatever is away."""


def written(folder: Path, documents: Mapping[str, Any]) -> Path:
    """A campaign folder of these documents, by their paths in it."""
    for name, document in documents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    return folder


class Answer:
    """Status, headers (lower case) and body of an answer; ``json()`` decodes it."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class Live:
    """``with Live(data, campaigns) as server: server.post("/v1/decisions", {...})``.

    ``command``: what to run instead of ``adserver`` (a build broken on purpose), as argv before "serve".
    """

    def __init__(
        self, data: Path, campaigns: Path | None = None, command: list[str] | None = None, *flags: str
    ) -> None:
        self.data = data
        self.campaigns = campaigns
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.parent / f"{data.name}.log"
        self._command = command
        self._flags = flags
        self._process: subprocess.Popen[bytes] | Born | None = None
        self._keys: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except RuntimeError as error:
            # Between the port's choice and its use somebody else took it: another one, this once.
            if f"127.0.0.1:{self.port} cannot be used: Address already in use" not in str(error):
                raise
            self.port = free_port()
            self.url = f"http://127.0.0.1:{self.port}"
            self.log.unlink()
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill9()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        flags = ["serve", "--data", str(self.data), "--port", str(self.port), *self._flags]
        if self.campaigns is not None:
            flags += ["--campaigns", str(self.campaigns)]
        environment = os.environ | TIRELESS
        if self._command is None:
            self._process = bear(flags, environment, self.log)
        else:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*self._command, *flags], stdout=log, stderr=log, cwd=REPOSITORY, env=environment
                )
        self._wait_ready()

    def stop(self) -> int:
        """Ask it to end (SIGTERM); its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_END_S)

    def kill9(self) -> None:
        """End it without asking."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._process is not None:
            self._process.wait(30)

    def restart(self) -> None:
        self.kill9()
        self.start()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended at once:\n{self.log.read_text()[-4000:]}")
            try:
                if self.get("/readyz").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"the server was not ready in {_START_S} s:\n{self.log.read_text()[-4000:]}")

    # -- asking ------------------------------------------------------------------------------------

    def key(self, role: str = "operator", *flags: str) -> str:
        """A key of this server, made once per role."""
        name = " ".join((role, *flags))
        if name not in self._keys:
            made = subprocess.run(
                [sys.executable, "-m", "adserver", "keys", "create", "--role", role,
                 "--data", str(self.data), *flags],
                capture_output=True, text=True, check=True, cwd=REPOSITORY,
            )  # fmt: skip
            self._keys[name] = made.stdout.strip()
        return self._keys[name]

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, None, **headers)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        return self.call("POST", path, body, **headers)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request on a connection of its own. ``body``: bytes as they are, else JSON; ``path``: also a
        whole URL of this server. Header names are written with underscores."""
        if path.startswith("http"):
            split = urlsplit(path)
            path = split.path + (f"?{split.query}" if split.query else "")
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {"user-agent": BROWSER} | {k.replace("_", "-"): v for k, v in headers.items()}
        if sent is not None:
            named.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, sent, named)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def decide(self, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        """The answer to a decision that must succeed. Asked again where it was shed: the machine has other
        things to do."""
        while True:
            answer = self.post("/v1/decisions", body, **headers)
            assert answer.status == 200, answer.body
            decoded: dict[str, Any] = answer.json()
            if all(slot["no_fill"] != "overloaded" for slot in decoded["decisions"]):
                return decoded
