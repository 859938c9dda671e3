"""nginx with the configuration of ``deploy/``, in front of a server of a test."""

import http.client
import signal
from pathlib import Path

from live import REPOSITORY

from servers import programs
from servers.server import Server

CONFIGURATION = REPOSITORY / "deploy" / "nginx" / "nginx.conf"
UPSTREAM = "adserver:8000"
LISTENS = "listen 8080;"
WRITES = "/tmp/"


class Nginx(Server):
    """``upstream``: the port of the server behind it, on the loopback."""

    name = "nginx"

    def __init__(self, folder: Path, upstream: int, edits: dict[str, str] | None = None) -> None:
        super().__init__(folder)
        self._edits = {
            UPSTREAM: f"127.0.0.1:{upstream}",
            LISTENS: f"listen 127.0.0.1:{self.port};",
            WRITES: f"{folder}/",
        } | (edits or {})

    def command(self) -> list[str]:
        text = CONFIGURATION.read_text()
        for old, new in self._edits.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.folder / "nginx.conf").write_text(text)
        return [str(programs.nginx()), "-c", f"{self.folder}/nginx.conf", "-g", "daemon off;"]

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().status == 404
        finally:
            connection.close()

    def reload(self) -> None:
        """New workers with the configuration as it is; the old ones finish what they have."""
        before = set(self.family()[1:])
        self._process_signal(signal.SIGHUP)
        self.until(lambda: set(self.family()[1:]) - before, "has new workers")

    def _process_signal(self, sign: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(sign)
