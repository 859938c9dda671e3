"""``adserver serve --workers``: what one person has seen, whoever decided it."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from leading import until
from live import Live
from servers.redis_server import Redis
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.catalog.store import Store
from adserver.domain import ids
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow
CAP = 3


@pytest.fixture
def server(tmp_path: Path, redis_server: Redis) -> Iterator[Live]:
    data = tmp_path / "data"
    data.mkdir()
    item = {"id": "a", "frequency_caps": [{"limit": CAP, "per": "1d"}]}
    with closing(Store(data / "catalog.sqlite", lambda space, user: bytes(16))) as store:
        store.put("publisher", "gazette", filled_publisher(publisher()))
        store.put("campaign", "acme/spring", filled_campaign(campaign("acme/spring", item)))
    with Live(
        data, None, None, "--workers", "2", "--redis", redis_server.url, "--redis-deadline-ms", "1000"
    ) as server:
        until(lambda: b'adserver_worker_up{worker="1"} 1.0' in server.get("/metrics").body)
        yield server


def ads(server: Live, user: str) -> list[Any]:
    ask = {"publisher": "gazette", "user": {"id": user}, "placements": [{"id": "top"}]}
    return list(server.decide(ask)["decisions"][0]["ads"])


def seen(server: Live, user: str, shown: list[Any]) -> bool:
    shown += ads(server, user)
    return len(shown) >= CAP


def test_a_cap_holds_over_all_workers(server: Live) -> None:
    owners = set[int]()
    for number in range(12):
        shown = list[Any]()
        # A slice of the budget, or Redis on a busy machine, may come later than the first request.
        until(partial(seen, server, f"u{number}", shown))
        for _ in range(6):
            shown += ads(server, f"u{number}")
        assert len(shown) == CAP
        owners |= {ids.owner_of(ids.decode(ad["event_id"])) for ad in shown}
    assert owners == {0, 1}
    assert server.stop() == 0


def test_events_find_the_worker_that_decided_their_ad(server: Live) -> None:
    """By whichever they come, also while one after the other is renewed."""
    shown = list[Any]()
    for number in range(8):
        mine = list[Any]()
        until(partial(seen, server, f"u{number}", mine))
        shown += mine
    assert {ids.owner_of(ids.decode(ad["event_id"])) for ad in shown} == {0, 1}
    os.kill(server.pid, signal.SIGHUP)
    for _ in range(3):
        for ad in shown:
            assert server.get(ad["impression_url"]).status == 200
    until(lambda: "all workers were renewed" in server.log.read_text())
    told = server.get("/metrics").body.decode()
    assert f'adserver_events_total{{kind="impression",verdict="accepted"}} {len(shown)}.0' in told
    assert f'adserver_events_total{{kind="impression",verdict="duplicate"}} {2 * len(shown)}.0' in told
    assert server.stop() == 0
    assert verify(server.data, lambda _: None) == []
