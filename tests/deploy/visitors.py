"""Readers of the sample sites, for servers of these tests."""

import http.client
import json
import threading
import time
from urllib.parse import urlsplit
from uuid import uuid4

from live import BROWSER, REPOSITORY, Answer

CAMPAIGNS = REPOSITORY / "campaigns"


def question() -> dict[str, object]:
    """Of a reader whom nobody has seen."""
    placements = [{"id": "home-top"}, {"id": "article-inline", "count": 2}]
    return {
        "publisher": "harbour-gazette",
        "session": uuid4().hex,
        "geo": {"country": "US"},
        "placements": placements,
    }


def asked(
    connection: http.client.HTTPConnection, method: str, path: str, body: object = None, **headers: str
) -> Answer:
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    named = {"user-agent": BROWSER, "content-type": "application/json"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    split = urlsplit(path)
    connection.request(method, split.path + (f"?{split.query}" if split.query else ""), sent, named)
    answer = connection.getresponse()
    return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


class Load:
    """Clients that ask for ads and show them, until told to stop. ``kept``: on connections that stay."""

    def __init__(self, port: int, clients: int, kept: bool = True) -> None:
        self.port = port
        self.kept = kept
        self.done = 0
        self.failed: list[object] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def until(self, done: int, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.done < done and not self.failed:
            assert time.monotonic() < deadline, f"{self.done} of {done}"
            time.sleep(0.02)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, 20)
        while not self._over.is_set():
            try:
                decided = self._ask(connection, "POST", "/v1/decisions", question())
                for placement in decided.json()["decisions"]:
                    for ad in placement["ads"]:
                        self._ask(connection, "GET", ad["impression_url"])
            except Exception as error:
                self.failed.append(error)
                return
        connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object = None
    ) -> Answer:
        answer = asked(connection, method, path, body)
        if not self.kept:
            connection.close()
        if answer.status != 200:
            self.failed.append((answer.status, answer.body))
        with self._lock:
            self.done += 1
        return answer
