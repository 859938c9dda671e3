"""nginx as it is deployed, before a real server: what is answered through it is what the server answers."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from live import Answer, Live
from servers.nginx import Nginx
from servers.server import ground
from visitors import CAMPAIGNS, Load, asked, question

from adserver.domain import limits

pytestmark = pytest.mark.slow

TRUSTED = "127.0.0.1"
READER = "127.0.0.2"
HOSTED = "127.0.0.3"
"""Another address of the loopback, listed as a data centre's."""
ELSEWHERE = "203.0.113.9"


def campaign(name: str, amount: str, html: str, landing: str, line_items: int, creatives: int) -> bytes:
    """Of the bank, for the gazette."""
    creative = {
        "format": "html", "size": "300x250", "advertiser_domain": "kestrel.example", "categories": ["IAB13"],
        "assets": {"html": html}, "landing_url": landing,
    }  # fmt: skip
    line_item = {
        "priority": "sponsorship", "level": 1, "flight": {"start": "2026-01-01", "end": "2030-01-01"},
        "pacing": "asap", "pricing": {"model": "cpm", "amount": amount},
        "targeting": {"publishers": ["harbour-gazette"]},
    }  # fmt: skip
    items = [
        {**line_item, "id": f"{name}-{item}"}
        | {"creatives": [{**creative, "id": f"c-{item}-{number}"} for number in range(creatives)]}
        for item in range(line_items)
    ]
    head = {"advertiser": "kestrel-bank", "campaign": name, "currency": "USD"}
    return json.dumps({**head, "timezone": "America/New_York", "line_items": items}).encode()


class Stand:
    """A server and nginx before it. ``changed``: of nginx's configuration, what instead."""

    def __init__(self, path: Path, *more: str, changed: Mapping[str, str] | None = None) -> None:
        centres = path / "centres"
        centres.write_text(f"{HOSTED}/32\n203.0.113.0/24\n")
        flags = ["--trusted-proxies", f"{TRUSTED}/32", "--data-centres", str(centres), *more]
        self.server = Live(path / "data", CAMPAIGNS, None, *flags)
        self.nginx = Nginx(path / "nginx", self.server.port, changed)
        self.server._flags += ("--public-url", f"http://127.0.0.1:{self.nginx.port}")

    def ask(
        self, method: str, path: str, body: object = None, source: str = READER, direct: bool = False,
        **headers: str,
    ) -> Answer:  # fmt: skip
        """Through nginx, from an address of the loopback; ``direct``: past it."""
        port = self.server.port if direct else self.nginx.port
        connection = http.client.HTTPConnection("127.0.0.1", port, 20, source_address=(source, 0))
        try:
            return asked(connection, method, path, body, **headers)
        finally:
            connection.close()

    def decide(self) -> list[dict[str, str]]:
        answer = self.ask("POST", "/v1/decisions", question())
        assert answer.status == 200, answer.body
        return [ad for placement in answer.json()["decisions"] for ad in placement["ads"]]


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with ground() as path:
        stand = Stand(path)
        with stand.server, stand.nginx:
            yield stand


def test_an_ad_is_decided_shown_and_clicked(stand: Stand) -> None:
    ads = stand.decide()
    assert ads
    for ad in ads:
        assert ad["impression_url"].startswith(f"http://127.0.0.1:{stand.nginx.port}/i/")
        shown = stand.ask("GET", ad["impression_url"])
        assert (shown.status, shown.headers["x-adserver-event"]) == (200, "accepted")
        again = stand.ask("GET", ad["impression_url"])
        assert again.headers["x-adserver-event"] == "duplicate"
        clicked = stand.ask("GET", ad["click_url"])
        assert (clicked.status, clicked.headers["x-adserver-event"]) == (302, "accepted")
        assert clicked.headers["location"].startswith("https://")


def test_who_asks_is_whom_nginx_saw(stand: Stand) -> None:
    """Not whom the client claims to speak for, in either direction."""
    told = {}
    for source, claimed in ((READER, ELSEWHERE), (HOSTED, READER), (READER, "")):
        [ad, *_] = stand.decide()
        headers = {"x_forwarded_for": claimed} if claimed else {}
        answer = stand.ask("GET", ad["impression_url"], source=source, **headers)
        told[source, claimed] = answer.headers["x-adserver-event"]
    assert told == {
        (READER, ELSEWHERE): "accepted",
        (HOSTED, READER): "filtered",
        (READER, ""): "accepted",
    }


BOUNDS = [
    ("/v1/decisions", limits.REQUEST_BYTES),
    ("/v1/events", limits.REQUEST_BYTES),
    ("/v1/release", limits.RELEASE_BYTES),
    ("/v1/receipts:verify", limits.RECEIPTS_BYTES),
    ("/openrtb2/auction", limits.AUCTION_BYTES),
    ("/v1/conversions", limits.MANAGEMENT_BYTES),
]


@pytest.mark.parametrize(("path", "limit"), BOUNDS, ids=[path for path, _ in BOUNDS])
def test_a_body_too_large_is_the_same_here_and_there(stand: Stand, path: str, limit: int) -> None:
    bearer = f"Bearer {stand.server.key('advertiser', '--advertiser', 'solace')}"
    statuses = {}
    for more in (0, 1):
        body = b'{"padding": "' + b"x" * (limit + more - 15) + b'"}'
        assert len(body) == limit + more
        through = stand.ask("POST", path, body, authorization=bearer)
        assert through.status == stand.ask("POST", path, body, direct=True, authorization=bearer).status
        statuses[more] = through.status
    assert statuses == {0: 400, 1: 413}
    assert through.headers["content-type"] == "application/problem+json"
    assert through.json()["status"] == 413


@pytest.mark.parametrize(("more", "status"), [(0, 404), (1, 414)])
def test_a_url_too_long_is_the_servers_to_refuse(stand: Stand, more: int, status: int) -> None:
    path = "/i/" + "x" * (limits.TARGET_BYTES + more - 3)
    answers = [stand.ask("GET", path, direct=direct) for direct in (False, True)]
    assert [answer.status for answer in answers] == [status, status]
    assert answers[0].body.partition(b"request_id")[0] == answers[1].body.partition(b"request_id")[0]


def test_a_head_as_large_as_the_server_takes_passes(stand: Stand) -> None:
    """But for the few headers that a proxy adds."""
    url = "/healthz?" + "x" * (limits.TARGET_BYTES - 100)
    rest = limits.HEAD_BYTES - limits.TARGET_BYTES - 1000
    assert stand.ask("GET", url, x_much="x" * rest).status == 200
    assert stand.ask("GET", "/healthz", x_much="x" * (limits.HEAD_BYTES - 1000)).status == 200
    assert stand.ask("GET", "/healthz", x_much="x" * limits.HEAD_BYTES).status in (400, 431)


def test_a_large_campaign_is_uploaded_through_it(stand: Stand) -> None:
    html = "<p>" + "x" * (limits.HTML_CHARS - 3)
    body = campaign("long", "0.01", html, "https://kestrel.example/", 2, 95)
    assert 12_000_000 < len(body) < limits.MANAGEMENT_BYTES
    path, bearer = "/v1/advertisers/kestrel-bank/campaigns/long", f"Bearer {stand.server.key()}"
    made = stand.ask("PUT", path, body, authorization=bearer)
    assert made.status == 201, made.body[:500]
    read = stand.ask("GET", path, authorization=bearer)
    assert len(read.json()["line_items"]) == 2
    assert len(read.body) > 12_000_000


def test_a_stranger_is_refused_before_his_body_is_read(stand: Stand) -> None:
    with socket.create_connection(("127.0.0.1", stand.nginx.port), 10) as connection:
        head = "PUT /v1/publishers/lumen HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {limits.MANAGEMENT_BYTES}\r\n\r\n".encode() + b"{" * 1000)
        assert connection.recv(20).startswith(b"HTTP/1.1 401")


def test_a_long_landing_page_is_redirected_to(stand: Stand) -> None:
    """Its URL is in the head of the answer."""
    bearer = f"Bearer {stand.server.key()}"
    landing = "https://kestrel.example/?" + "x" * (limits.URL_CHARS - 25)
    assert len(landing) == limits.URL_CHARS
    body = campaign("far", "900.00", "<p>", landing, 1, 1)
    path = "/v1/advertisers/kestrel-bank/campaigns/far"
    made = stand.ask("PUT", path, body, authorization=bearer)
    assert made.status == 201, made.body
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for ad in stand.decide():
            clicked = stand.ask("GET", ad["click_url"])
            if clicked.headers["location"] == landing:
                return
        time.sleep(0.1)
    raise AssertionError("it was never shown")


def test_what_prometheus_asks_is_not_for_everybody(stand: Stand) -> None:
    for path in ("/metrics", "//metrics", "/%6detrics", "/metrics?x=1", "/x/../metrics"):
        assert stand.ask("GET", path).status == 404
    assert stand.ask("GET", "/metrics", direct=True).status == 200
    assert stand.ask("GET", "/readyz").status == 200


# -- under load --------------------------------------------------------------------------------------


def closed_towards(port: int) -> int:
    """Connections to this port that were closed in the last minute, by the side that opened them."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    waiting = "06"
    return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == waiting for line in lines)


def test_under_load_nothing_fails_and_connections_are_kept(stand: Stand) -> None:
    before = closed_towards(stand.server.port)
    with Load(stand.nginx.port, 16) as load:
        load.until(2000)
    assert not load.failed
    assert closed_towards(stand.server.port) - before < 100


def test_a_reload_under_load_fails_nothing(stand: Stand) -> None:
    with Load(stand.nginx.port, 8, kept=False) as load:
        for reloads in range(1, 4):
            load.until(reloads * 200)
            stand.nginx.reload()
        load.until(load.done + 200)
    assert not load.failed


def test_an_upgrade_is_a_pause_that_says_so(stand: Stand) -> None:
    ads = stand.decide()
    assert stand.server.stop() == 0
    for _ in range(5):
        refused = stand.ask("GET", ads[0]["impression_url"])
        assert (refused.status, refused.headers["content-type"]) == (502, "application/problem+json")
        assert refused.json()["status"] == 502
    stand.server.start()
    # At once: nginx has set nobody aside.
    assert stand.ask("GET", ads[0]["impression_url"]).headers["x-adserver-event"] == "accepted"


# -- a server that breaks off ------------------------------------------------------------------------


class Breaks:
    """A server that answers the first request of a connection and, of the next, closes without a word."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                self._read(stream)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                self._read(stream)

    def _read(self, stream: "object") -> None:
        method, length = "", 0
        for line in iter(stream.readline, b"\r\n"):  # type: ignore[attr-defined]
            if not line:
                return
            method = method or line.split()[0].decode()
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        stream.read(length)  # type: ignore[attr-defined]
        self.seen.append(method)

    def close(self) -> None:
        self._listening.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "times"),
    [
        ("GET", "/i/token", 200, 2),
        ("POST", "/i/token", 502, 1),
        ("POST", "/v1/decisions", 502, 1),
        ("POST", "/v1/events", 502, 1),
        ("POST", "/v1/conversions", 502, 1),
        ("PATCH", "/v1/advertisers/solace", 502, 1),
    ],
)
def test_what_was_sent_is_repeated_only_if_that_changes_nothing(
    server_ground: Path, method: str, path: str, status: int, times: int
) -> None:
    behind = Breaks()
    # One process, or the second request has a connection of its own.
    with Nginx(
        server_ground / "nginx", behind.port, {"worker_processes auto": "worker_processes 1"}
    ) as nginx:
        answers = []
        for verb, where in (("GET", "/healthz"), (method, path)):
            connection = http.client.HTTPConnection("127.0.0.1", nginx.port, 10)
            answers.append(asked(connection, verb, where, b"{}" if verb != "GET" else None).status)
            connection.close()
    behind.close()
    assert answers == [200, status]
    assert behind.seen == ["GET"] + [method] * times
