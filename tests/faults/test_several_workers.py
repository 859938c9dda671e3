"""Several workers behind one port, with Redis, over files and over PostgreSQL: caps, feeds and budgets are
those of one server, also while workers are killed."""

import http.client
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from kills import campaign, publisher, request, world
from live import Live
from processes import workers_of
from servers.redis_server import Redis
from test_database import Serving, report_of_days
from test_parent_killed import both_serve
from test_shared_state import decide, feed, folder, known, line_items, redis, soon

from adserver.ledger.verify import verify

__all__ = ["folder", "redis"]
pytestmark = pytest.mark.slow
WORKERS = 4
START_S = 60.0
SAID = ("accepted", "duplicate", "unrecorded")
LIMITED = [
    {"id": "limited", "pricing": {"model": "cpm", "amount": "10.00"}, "budget": {"lifetime": "1.00"}},
]


def serving(tmp_path: Path, folder: Path, redis: Redis) -> Live:
    """With patience: what is tested is not how fast a busy machine is."""
    shared = ("--redis", redis.url, "--redis-deadline-ms", "500")
    return Live(tmp_path / "data", folder, None, *shared, "--workers", str(WORKERS))


def all_known(server: Live) -> None:
    """All of them: what is known is the least of what they know."""
    soon(lambda: known(server), START_S)


def kill_one(server: Live) -> None:
    """If there is one; all may be beginning again."""
    for pid in workers_of(server.pid)[:1]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_many_at_once_get_as_many_as_the_cap_says(tmp_path: Path, folder: Path, redis: Redis) -> None:
    with serving(tmp_path, folder, redis) as server, ThreadPoolExecutor(50) as pool:
        all_known(server)
        whom = [f"u-{number % 10}" for number in range(500)]
        served = Counter[tuple[str, str]]()

        def one(who: str) -> None:
            for ad in decide(server, request(who))["decisions"][0]["ads"]:
                served[who, ad["line_item"]] += 1
                assert server.get(ad["impression_url"]).headers["x-adserver-event"] == "accepted"

        list(pool.map(one, whom))
        assert [served[f"u-{number}", "capped"] for number in range(10)] == [3] * 10
        assert server.stop() == 0
    assert verify(tmp_path / "data", report=lambda line: None) == []


def test_pages_repeats_and_events_are_the_same_at_every_worker(
    tmp_path: Path, folder: Path, redis: Redis
) -> None:
    with serving(tmp_path, folder, redis) as server:
        all_known(server)
        pages = [decide(server, feed(page))["decisions"][0] for page in range(3)]
        for _ in range(3 * WORKERS):
            assert [decide(server, feed(page))["decisions"][0] for page in range(3)] == pages
        assert server.post("/v1/decisions", feed(5)).status == 409
        server.decide({**request("u-2"), "id": "once"})
        once = server.post("/v1/decisions", {**request("u-2"), "id": "once"}).body
        for _ in range(3 * WORKERS):
            assert server.post("/v1/decisions", {**request("u-2"), "id": "once"}).body == once
        (ad,) = decide(server, request("u-1"))["decisions"][0]["ads"]
        with ThreadPoolExecutor(16) as pool:
            told = pool.map(lambda _: server.get(ad["impression_url"]).headers["x-adserver-event"], range(16))
            assert Counter(told) == {"accepted": 1, "duplicate": 15}
        assert server.stop() == 0
    assert verify(tmp_path / "data", report=lambda line: None) == []


def test_a_budget_is_everybodys_while_workers_are_killed(tmp_path: Path, redis: Redis) -> None:
    sold = world(tmp_path / "world", publisher(), campaign("limited", LIMITED))
    with serving(tmp_path, sold, redis) as server, ThreadPoolExecutor(16) as pool:
        all_known(server)
        # Nobody has leased anything of the budget before somebody asked for it.
        soon(lambda: line_items(decide(server, request("u-first"))) == ["limited"], START_S)

        def one(number: int) -> int:
            """What it billed, as far as anybody said so."""
            if number % 60 == 30:
                kill_one(server)
            try:
                answer = server.decide(request(f"u-{number}"))
                shown = [server.get(ad["impression_url"]) for ad in answer["decisions"][0]["ads"]]
            except (OSError, http.client.HTTPException):
                return 0  # It was in the hands of the one that was killed.
            return sum(told.headers.get("x-adserver-billed") == "true" for told in shown)

        billed = sum(pool.map(one, range(300)))
        assert 0 < billed <= 100
        soon(lambda: len(workers_of(server.pid)) == WORKERS)
        assert server.stop() == 0
    assert verify(tmp_path / "data", report=lambda line: None) == []


class OverDatabase(Serving):
    """Two workers whose catalog and ledger are in PostgreSQL."""

    def __init__(self, data: Path, folder: Path, redis: Redis, url: str) -> None:
        super().__init__(data, folder, url)
        self._flags += ("--redis", redis.url, "--redis-deadline-ms", "500", "--workers", "2")

    def key(self, role: str = "operator", *flags: str) -> str:
        """Once each worker has heard of it, which looks for itself: many asked in a row are all of them."""
        made = super().key(role, *flags)
        bearer = f"Bearer {made}"
        soon(lambda: all(self.get("/v1/advertisers", authorization=bearer).status != 401 for _ in range(24)))
        return made


def test_over_a_database_each_impression_is_billed_once(tmp_path: Path, redis: Redis, database: str) -> None:
    """Decisions and events at any worker, one killed under load; what was shown is told once more to whoever
    accepts, and stands in the books, in reports and before the audit exactly once."""
    rest = campaign("rest", [{"id": "rest", "pricing": {"model": "cpm", "amount": "1.00"}}])
    sold = world(tmp_path / "world", publisher(), campaign("limited", LIMITED), rest)
    with OverDatabase(tmp_path / "data", sold, redis, database) as server, ThreadPoolExecutor(8) as pool:
        all_known(server)

        def one(number: int) -> list[str]:
            if number in (60, 120):
                kill_one(server)
            try:
                ads = server.decide(request(f"u-{number % 40}"))["decisions"][0]["ads"]
            except (OSError, http.client.HTTPException):
                return []
            urls = [ad["impression_url"] for ad in ads]
            for url in urls:
                with suppress(OSError, http.client.HTTPException):
                    # Unrecorded where whose ad it is takes longer to begin again than is waited for.
                    assert server.get(url).headers["x-adserver-event"] in SAID
            return urls

        urls = [url for some in pool.map(one, range(180)) for url in some]
        soon(lambda: both_serve(server) and known(server), START_S)
        told = Counter(server.get(url).headers["x-adserver-event"] for url in urls)
        assert set(told) <= {"accepted", "duplicate"}
        assert len(urls) > 100

        def reported() -> int:
            rows = server.manage("GET", report_of_days()).json()["rows"]
            return sum(row["impressions"] for row in rows)

        soon(lambda: reported() == len(urls))
        key = {"authorization": f"Bearer {server.key('advertiser', '--advertiser', 'brook')}"}
        sales = {"conversions": [{"id": f"sale-{n}", "user": f"u-{n}"} for n in range(40)]}
        for fate in ("attributed", "duplicate", "duplicate"):
            results = server.post("/v1/conversions", sales, **key).json()["results"]
            assert [one["status"] for one in results] == [fate] * 40
        assert server.stop() == 0
        assert len(server.posted()) == len(set(urls)) == len(urls)
        assert server.audited() == []
