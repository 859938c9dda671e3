"""Prometheus with the configuration of ``deploy/``, watching a server of a test."""

import http.client
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from live import REPOSITORY

from servers import programs
from servers.server import Server

CONFIGURATION = REPOSITORY / "deploy" / "prometheus"
TARGETS = "dns_sd_configs:\n      - {names: [adserver], type: A, port: 8000, refresh_interval: 15s}"
OFTEN = "scrape_interval: 15s"


class Prometheus(Server):
    """``target``: the port of the server it watches, on the loopback."""

    name = "Prometheus"

    def __init__(self, folder: Path, target: int) -> None:
        super().__init__(folder)
        self._target = target

    def command(self) -> list[str]:
        shutil.copytree(CONFIGURATION, self.folder / "configuration", dirs_exist_ok=True)
        path = self.folder / "configuration" / "prometheus.yml"
        text = path.read_text()
        watched = f'static_configs:\n      - targets: ["127.0.0.1:{self._target}"]'
        for old, new in ((TARGETS, watched), (OFTEN, "scrape_interval: 1s")):
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        listens = f"--web.listen-address=127.0.0.1:{self.port}"
        return [str(programs.prometheus()), f"--config.file={path}", "--storage.tsdb.path=store", listens]

    def ready(self) -> bool:
        return self._get("/-/ready")[0] == 200

    def ask(self, path: str, **query: str) -> Any:
        """The ``data`` of an answer of its API."""
        status, body = self._get(f"/api/v1/{path}?{urlencode(query)}")
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success", answer
        return answer["data"]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
