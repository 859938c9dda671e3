"""Redis in a test."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis import Redis as Client
from redis.exceptions import RedisError

from servers import programs
from servers.server import Server

_ASK_S = 20.0


class Redis(Server):
    """One Redis, whose data is in ``folder``: an append-only file, so ``restart`` keeps them. ``settings``:
    flags of ``redis-server``, over those here."""

    name = "Redis"

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._settings = {
            "appendonly": "yes",
            "save": "",
            # A replica is in step at once, not after the five seconds in which others might ask as well.
            "repl-diskless-sync-delay": "0",
        } | dict(settings or {})

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        settings = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder)} | self._settings
        return [
            str(programs.redis()),
            *(part for name, value in settings.items() for part in (f"--{name}", value)),
        ]

    def ready(self) -> bool:
        try:
            return self.ask("PING") is True
        except RedisError:
            return False

    def client(self, timeout_s: float = _ASK_S) -> Client:
        """For tests to look with: no retries. Closed by ``with``."""
        return Client(port=self.port, socket_timeout=timeout_s, retry=None)

    def ask(self, *words: str, timeout_s: float = _ASK_S) -> Any:
        """The answer to a command."""
        with self.client(timeout_s) as client:
            return client.execute_command(*words)

    def configure(self, name: str, value: str) -> None:
        """CONFIG SET, until it ends."""
        self.ask("CONFIG", "SET", name, value)

    def follow(self, port: int) -> None:
        """Become a replica of who answers there, a proxy maybe; returns when it is in step."""
        self.ask("REPLICAOF", "127.0.0.1", str(port))
        self.until(lambda: self.ask("ROLE")[3] == b"connected", "is in step")

    def promote(self) -> None:
        """Be a master, with what it has."""
        self.ask("REPLICAOF", "NO", "ONE")

    def empty(self) -> None:
        """Lose everything: what a restart on a new disk finds. Not while it runs."""
        assert not self.running
        shutil.rmtree(self.folder)
