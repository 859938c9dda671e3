"""A full disk under a real server: what it still answers, that it lives, and that everything resumes by
itself, with nothing lost that was acknowledged.

Room is taken and given back while the server runs: on a small file system of its own where one can be
mounted, and always by a limit on the size of files, which fails allocation the same way.
"""

import asyncio
import json
import resource
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kills import Asker, campaign, line_item, request
from live import Answer, Live
from servers.disks import grow, mounted
from small_disks import DEADLINE_S, bound, small_world, until

from adserver.domain import ids
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

SEGMENT = 1 << 20


@pytest.mark.parametrize("how", ["file system", "size of files"])
def test_a_journal_without_room_stops_paid_ads_and_loses_nothing(tmp_path: Path, how: str) -> None:
    data, folder = tmp_path / "data", small_world(tmp_path / "world")
    server = Live(data, folder, None, "--segment-bytes", str(SEGMENT))
    if how == "file system":
        with mounted(data / "journal", "1100k"), server:
            through_a_full_disk(server, lambda: None, lambda: grow(data / "journal", "16m"))
    else:
        with server:
            through_a_full_disk(
                server, lambda: bound(server, SEGMENT - 4096), lambda: bound(server, resource.RLIM_INFINITY)
            )


def through_a_full_disk(server: Live, take: Callable[[], None], give_back: Callable[[], None]) -> None:
    """``take`` and ``give_back`` the room for another segment."""
    bearer = f"Bearer {server.key()}"
    take()
    pages, waiting, accepted = asyncio.run(fill(server))
    room_for_events(server, waiting, accepted)
    answers_while_full(server, waiting, pages)
    change_while_full(server, bearer)
    give_back()
    # The very first that is sold is of the change: what it promised is in the journal by then.
    ad = first_paid(server)
    assert ad["line_item"] == "late"
    assert told(server, ad["impression_url"]) == "accepted"
    for url in waiting:
        assert told(server, url) == "accepted"
    accepted |= {ids.decode(ad["event_id"])}
    pages_go_on(server, pages)
    assert server.call("GET", "/healthz").status == 200
    server.restart()
    pages_go_on(server, pages)
    server.stop()
    assert verify(server.data, report=lambda line: None) == []
    with closing(sqlite3.connect(server.data / "ledger.sqlite")) as database:
        found = database.execute("SELECT event_id FROM events WHERE kind = 1 AND status = 1")
        posted = [row[0] for row in found]
    assert len(posted) == len(set(posted))
    assert accepted <= set(posted)


async def fill(server: Live) -> tuple[list[dict], list[str], set[bytes]]:
    """Decide, render half, and read a feed until no ads are sold: (the feed's pages, impression URLs not
    called yet, event ids accepted)."""
    asker, pages, waiting, accepted = Asker(server.port), list[dict](), list[str](), set[bytes]()
    for number in range(20_000):
        status, _, body = await asker.ask("POST", "/v1/decisions", request(f"u-{number}"))
        assert status == 200
        entry = json.loads(body)["decisions"][0]
        ads = [ad for ad in entry["ads"] if ad["line_item"] != "house"]
        if not ads:
            asker.close()
            return pages, waiting[-3000:], accepted
        for ad in ads:
            if number % 2:
                waiting.append(ad["impression_url"])
                continue
            _, headers, _ = await asker.ask("GET", ad["impression_url"])
            assert headers["x-adserver-event"] == "accepted"
            accepted.add(ids.decode(ad["event_id"]))
        if number % 100 == 0:
            status, _, body = await asker.ask("POST", "/v1/decisions", feed(len(pages)))
            pages.append(json.loads(body)["decisions"][0])
    raise AssertionError("the disk never filled up")


def feed(page: int, session: str = "s-1", **more: Any) -> dict[str, Any]:
    entry = {"id": "feed", "feed": {"id": "main", "page": page, "organic_count": 20}}
    return {"placements": [entry], "session": session, **more}


def line_items(server: Live, placement: str) -> list[str]:
    decision = server.decide(request("u-x", placement))["decisions"][0]
    if not decision["ads"]:
        assert decision["no_fill"] == "disk_full"
    return [ad["line_item"] for ad in decision["ads"]]


def first_paid(server: Live) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        ads: list[dict[str, Any]] = server.decide(request("late"))["decisions"][0]["ads"]
        # Whoever is hurried past its deadline meanwhile answers none.
        if ads and ads[0]["line_item"] != "house":
            return ads[0]
    raise AssertionError("paid ads did not come back")


def told(server: Live, url: str) -> str:
    return server.get(url).headers["x-adserver-event"]


def room_for_events(server: Live, waiting: list[str], accepted: set[bytes]) -> None:
    """What was already decided still finds room for a while; then events are refused, with a way on.
    Leaves in ``waiting`` those not recorded."""
    kept = 0
    while told(server, waiting[-1]) == "accepted":
        waiting.pop()
        kept += 1
    assert kept > 100, "the reserve is for the events of what was decided"
    refused = server.get(waiting[-1])
    assert refused.status == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["x-adserver-event"] == "unrecorded"
    assert refused.headers["x-adserver-billed"] == "false"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["status"] == 503


def answers_while_full(server: Live, waiting: list[str], pages: list[dict]) -> None:
    for _ in range(3):
        assert line_items(server, "page") == ["house"]
        assert line_items(server, "bare") == []
        page = server.decide(feed(len(pages)))["decisions"][0]
        assert (page["ads"], page["feed"]["organic"]) == ([], 20)
        pages.append(page)
    both = {"placements": [{"id": "page"}, feed(len(pages))["placements"][0]], "session": "s-1"}
    ours, page = server.decide({**both, "id": "once"})["decisions"]
    pages.append(page)
    assert [ad["line_item"] for ad in ours["ads"]] == ["house"] and page["feed"]["sponsored"] == 0
    assert server.decide({**both, "id": "once"})["decisions"] == [ours, page]
    pages_again(server, pages)
    assert server.post("/v1/decisions", feed(len(pages) + 1)).status == 409
    token = waiting[-1].rpartition("/")[2]
    refused = server.post("/v1/events", {"events": [{"token": token, "type": "impression"}]})
    assert (refused.status, refused.headers["x-adserver-event"]) == (503, "unrecorded")
    # A release is the smaller record: a few may find room behind the last event.
    refused = first_refused_release(server)
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.headers["x-adserver-event"], refused.headers["retry-after"]) == ("unrecorded", "1")
    click = server.get(ours["ads"][0]["click_url"])
    assert (click.status, click.headers["x-adserver-event"]) == (302, "unrecorded")
    assert click.headers["location"].startswith("https://brook.example/?c=")
    assert server.get("/healthz").status == 200
    assert server.get(waiting[-1] + "x").status == 404


def first_refused_release(server: Live) -> Answer:
    for _ in range(20):
        ad = server.decide(request("u-x"))["decisions"][0]["ads"][0]
        answer = server.post("/v1/release", {"tokens": [ad["release_url"].rpartition("/")[2]]})
        if answer.status != 200:
            assert answer.status == 503 == server.get(ad["release_url"]).status
            return answer
    raise AssertionError("releases were never refused")


def change_while_full(server: Live, bearer: str) -> None:
    """A change of the catalogue comes and is live; what it sells is sold when there is room."""
    document = campaign("late", [line_item(id="late", pricing={"model": "cpm", "amount": "9.00"})])[1]
    put = server.call("PUT", "/v1/advertisers/brook/campaigns/late", document, authorization=bearer)
    assert put.status == 201
    path = "/v1/advertisers/brook/campaigns/late/delivery"
    until(lambda: server.get(path, authorization=bearer).status == 200, "the change was not live")


def pages_again(server: Live, pages: list[dict]) -> None:
    for number, page in enumerate(pages):
        assert server.decide(feed(number))["decisions"][0] == page


def pages_go_on(server: Live, pages: list[dict]) -> None:
    page = server.decide(feed(len(pages)))["decisions"][0]
    assert page["feed"]["start_position"] == pages[-1]["feed"]["next_position"]
    pages.append(page)
