"""A machine: a parent with its data folder, which shares a Redis and a PostgreSQL with others."""

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from leading import HERE, Parent
from live import BROWSER, TIRELESS
from world import filled_campaign, filled_publisher, publisher

from adserver.catalog.keys import Keys
from adserver.catalog.opening import place_of
from adserver.catalog.store import Store
from adserver.domain import ids


def put(url: str, *campaigns: dict[str, Any], placements: Any = None) -> None:
    """One publisher and these campaigns into the catalog of a database."""
    owner = publisher() if placements is None else publisher(placements=placements)
    with closing(Store(place_of(Path(), url), lambda space, user: bytes(16))) as store:
        store.put("publisher", "gazette", filled_publisher(owner))
        for one in campaigns:
            name = f"{one['advertiser']}/{one['campaign']}"
            store.put("campaign", name, filled_campaign(one))


def key(url: str, role: Any, of: str = "") -> str:
    """A key to manage with."""
    with closing(Keys(place_of(Path(), url))) as keys:
        return keys.create(role, of, int(time.time() * 1000))[1]


def owner(ad: Any) -> int:
    """The number of the process that decided an ad."""
    return ids.owner_of(ids.decode(ad["event_id"]))


class Machine(Parent):
    def __init__(self, data: Path, workers: int, redis: str, database: str) -> None:
        super().__init__(data, workers, module="adserver.workers.child")
        self.environment |= {"ADSERVER_DATABASE": database} | TIRELESS
        self._redis = redis

    def command(self) -> list[str]:
        told = {"data": self.data, "port": self.port, "workers": self.workers, "redis": self._redis}
        told |= {"errands": "127.0.0.1:0", "keep-alive-seconds": 1, "redis-deadline-ms": 500}
        flags = [part for name, value in told.items() for part in (f"--{name}", str(value))]
        return [sys.executable, "-m", "adserver", "serve", *flags]

    def set_clock(self, ahead_ms: int) -> None:
        """From now on; ``with_clock`` before it starts."""
        self.data.with_name(f"{self.data.name}.clock").write_text(str(ahead_ms))

    def with_clock(self) -> None:
        """One that tests can set."""
        self.set_clock(0)
        path = os.pathsep.join((str(HERE / "set_clock"), self.surroundings()["PYTHONPATH"]))
        ahead = str(self.data.with_name(f"{self.data.name}.clock"))
        self.environment |= {"PYTHONPATH": path, "CLOCK_AHEAD": ahead}

    def kill(self) -> None:
        """All of it at once, as a power cut would."""
        for pid in (self.process.pid, *self.pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of an answer. ``path``: also a whole tracking URL."""
        if path.startswith("http"):
            path = "/" + path.split("/", 3)[3]
        named = {"content-type": "application/json", "user-agent": BROWSER} | headers
        sent = None if body is None else json.dumps(body)
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, sent, named)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def asked(self, user: str, **more: Any) -> dict[str, Any]:
        body = {"publisher": "gazette", "placements": [{"id": "top"}], "user": {"id": user}, **more}
        status, _, said = self.call("POST", "/v1/decisions", body)
        assert status == 200, said
        found: dict[str, Any] = json.loads(said)
        return found

    def ads(self, user: str) -> list[Any]:
        return list(self.asked(user)["decisions"][0]["ads"])

    def told(self, url: str) -> tuple[int, str | None, str | None]:
        """(status, verdict, where it leads) of a call on a tracking URL."""
        status, headers, _ = self.call("GET", url)
        return status, headers["x-adserver-event"], headers["location"]

    def manage(self, path: str, key: str, body: object) -> tuple[int, Any]:
        status, _, said = self.call("POST", path, body, authorization=f"Bearer {key}")
        return status, json.loads(said)


@contextmanager
def serving(*machines: Machine) -> Iterator[None]:
    """All of them, started at once."""
    with ExitStack() as ends, ThreadPoolExecutor() as starts:
        list(starts.map(ends.enter_context, machines))
        yield
