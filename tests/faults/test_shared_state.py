"""A server whose state is in Redis: caps, feeds and repeats hold as they do in memory, whatever Redis loses;
while it is away the rest goes on."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kills import campaign, publisher, request, world
from live import Live
from servers.proxy import Proxy, Weather
from servers.redis_server import Redis
from servers.server import ground

from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

CAPPED = [
    {"id": "capped", "frequency_caps": [{"limit": 3, "per": "1d"}]},
    {"id": "rest", "pricing": {"model": "cpm", "amount": "1.00"}},
]
BACK_S = 5.0 * 10
"""In which what was away is used again: five seconds, ten times that on a machine with other things to do."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    other = campaign("other", [{"id": "elsewhere", "pricing": {"model": "cpm", "amount": "0.50"}}])
    return world(tmp_path / "world", publisher(), campaign("capped", CAPPED), other)


@pytest.fixture
def redis() -> Iterator[Redis]:
    """One of this test's own, to be killed."""
    with ground() as path, Redis(path / "redis") as server:
        yield server


def serving(tmp_path: Path, folder: Path, redis: Redis) -> Live:
    """With patience: what is tested is not how fast a busy machine is."""
    return Live(tmp_path / "data", folder, None, "--redis", redis.url, "--redis-deadline-ms", "500")


def feed(page: int, session: str = "s-1") -> dict[str, Any]:
    entry = {"id": "feed", "feed": {"id": "main", "page": page, "organic_count": 20}}
    return {"placements": [entry], "session": session}


def line_items(answer: dict[str, Any]) -> list[str]:
    return [ad["line_item"] for slot in answer["decisions"] for ad in slot["ads"]]


def decide(server: Live, body: dict[str, Any]) -> dict[str, Any]:
    """Asked again where the machine has other things to do."""
    while True:
        answer = server.decide(body)
        if all(slot["no_fill"] != "overloaded" for slot in answer["decisions"]):
            return answer


def soon(what: Callable[[], bool], within_s: float = BACK_S) -> None:
    """Until it is so."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def known(server: Live) -> bool:
    return b"adserver_state_known 1.0" in server.get("/metrics").body


@pytest.mark.parametrize("end", ["kill9", "stop"])
@pytest.mark.parametrize("lost", [False, True], ids=["kept", "emptied"])
def test_caps_pages_and_repeats_survive(
    tmp_path: Path, folder: Path, redis: Redis, end: str, lost: bool
) -> None:
    with serving(tmp_path, folder, redis) as server:
        soon(lambda: known(server))
        shown = [ad for _ in range(2) for ad in decide(server, request("u-1"))["decisions"][0]["ads"]]
        assert [ad["line_item"] for ad in shown] == ["capped", "capped"]
        assert server.get(shown[0]["impression_url"]).headers["x-adserver-event"] == "accepted"
        pages = [decide(server, feed(page))["decisions"][0] for page in range(3)]
        server.decide({**request("u-2"), "id": "once"})
        asked_once = server.post("/v1/decisions", {**request("u-2"), "id": "once"}).body

        getattr(server, end)()
        if lost:
            redis.kill9()
            redis.empty()
            redis.start()
        server.start()

        soon(lambda: known(server))
        assert server.get(shown[0]["impression_url"]).headers["x-adserver-event"] == "duplicate"
        assert server.get(shown[1]["impression_url"]).headers["x-adserver-event"] == "accepted"
        third, fourth = (line_items(decide(server, request("u-1"))) for _ in range(2))
        assert [*third, *fourth] == ["capped", "rest"]
        assert [decide(server, feed(page))["decisions"][0] for page in range(3)] == pages
        assert server.post("/v1/decisions", feed(5)).status == 409
        assert server.post("/v1/decisions", {**request("u-2"), "id": "once"}).body == asked_once
        server.stop()
    assert verify(tmp_path / "data", report=lambda line: None) == []


def test_many_at_once_get_as_many_as_the_cap_says(tmp_path: Path, folder: Path, redis: Redis) -> None:
    with serving(tmp_path, folder, redis) as server, ThreadPoolExecutor(50) as pool:
        soon(lambda: known(server))
        for number in range(5):
            answers = pool.map(lambda _, who=f"u-{number}": decide(server, request(who)), range(50))
            served = [name for answer in answers for name in line_items(answer)]
            assert served.count("capped") == 3
            assert served.count("rest") == 47
        server.stop()
    assert verify(tmp_path / "data", report=lambda line: None) == []


def test_who_is_in_a_hurry_goes_without_what_is_capped(tmp_path: Path, folder: Path, redis: Redis) -> None:
    with Proxy(redis.port) as far:
        url = f"redis://127.0.0.1:{far.port}/0"
        with Live(tmp_path / "data", folder, None, "--redis", url, "--redis-deadline-ms", "1000") as server:
            soon(lambda: known(server))
            far.weather = Weather(delay_s=0.2)
            assert line_items(decide(server, {**request("u-1"), "tmax_ms": 200})) == ["rest"]
            assert line_items(decide(server, {**request("u-1"), "tmax_ms": 2000})) == ["capped"]
            assert known(server)


@pytest.mark.parametrize("trouble", ["kill9", "pause"])
def test_while_redis_is_away_the_rest_goes_on(
    tmp_path: Path, folder: Path, redis: Redis, trouble: str
) -> None:
    with serving(tmp_path, folder, redis) as server:
        soon(lambda: known(server))
        assert line_items(decide(server, request("u-1"))) == ["capped"]
        page = decide(server, feed(0))["decisions"][0]

        getattr(redis, trouble)()
        decide(server, request("u-1"))
        assert not known(server)
        assert line_items(decide(server, request("u-1"))) == ["rest"]
        assert decide(server, feed(0))["decisions"][0] == page
        (unknown,) = decide(server, feed(0, "s-2"))["decisions"]
        assert (unknown["ads"], unknown["no_fill"], unknown.get("feed")) == ([], "state_unavailable", None)

        redis.start() if trouble == "kill9" else redis.resume()
        soon(lambda: known(server))
        assert [line_items(decide(server, request("u-1"))) for _ in range(3)] == [
            ["capped"],
            ["capped"],
            ["rest"],
        ]
        assert decide(server, feed(0, "s-2"))["decisions"][0]["feed"]["page"] == 0
        assert decide(server, feed(1))["decisions"][0]["feed"]["page"] == 1
        server.stop()
    assert verify(tmp_path / "data", report=lambda line: None) == []
