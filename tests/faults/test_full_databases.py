"""Databases without room under a real server: events and decisions go on, the books catch up later, and a
change of the catalogue is refused whole."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kills import Asker, campaign, line_item, request
from live import Live
from servers.disks import mounted
from small_disks import small_world, until

from adserver.domain import ids
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow


def test_databases_without_room_delay_the_books_and_refuse_changes(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", small_world(tmp_path / "world")
    with mounted(data, "4m"), mounted(data / "journal", "16m"):
        server = Live(data, folder, None, "--segment-bytes", "262144")
        server.log = tmp_path / "server.log"
        with server:
            through_full_databases(server, data / "ballast")


def through_full_databases(server: Live, ballast: Path) -> None:
    bearer = f"Bearer {server.key()}"
    document = campaign("late", [line_item(id="late", pricing={"model": "cpm", "amount": "9.00"})])[1]
    path = "/v1/advertisers/brook/campaigns/late"
    accepted = asyncio.run(render(server, 200))
    fill_up(ballast)
    # The books fall behind, nobody notices but they.
    until(lambda: asyncio.run(render(server, 200, accepted)) and behind(server, accepted), "it was posted")
    refused = server.call("PUT", path, document, authorization=bearer)
    while refused.status in (200, 201):
        # The file had a little room of its own.
        accepted |= asyncio.run(render(server, 100))
        name = f"late-{len(accepted)}"
        more = {**document, "campaign": name}
        refused = server.call("PUT", f"/v1/advertisers/brook/campaigns/{name}", more, authorization=bearer)
        path, document = f"/v1/advertisers/brook/campaigns/{name}", more
    assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
    assert "room" in refused.json()["detail"]
    assert server.get(path, authorization=bearer).status == 404
    assert server.get("/healthz").status == 200
    accepted |= asyncio.run(render(server, 200))
    # Without the books nobody knows what is spent: a server does not start, and says why.
    server.kill9()
    with pytest.raises(RuntimeError, match="cannot be used: database or disk is full") as ended:
        server.start()
    assert str(ended.value).splitlines()[-1].startswith("adserver: ")

    ballast.unlink()
    server.start()
    until(lambda: not behind(server, accepted), "the books did not catch up")
    assert server.call("PUT", path, document, authorization=bearer).status == 201
    server.restart()
    assert server.get(path, authorization=bearer).status == 200
    server.stop()
    assert not behind(server, accepted)
    assert verify(server.data, report=lambda line: None) == []


def fill_up(ballast: Path) -> None:
    """Leave not a page of the file system."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


async def render(server: Live, times: int, accepted: set[bytes] | None = None) -> set[bytes]:
    """Decide and render, all of which must succeed: (event ids accepted)."""
    asker, found = Asker(server.port), set[bytes]() if accepted is None else accepted
    for number in range(times):
        status, _, body = await asker.ask("POST", "/v1/decisions", request(f"u-{number}-{len(found)}"))
        assert status == 200
        (ad,) = json.loads(body)["decisions"][0]["ads"]
        assert ad["line_item"] != "house"
        status, headers, _ = await asker.ask("GET", ad["impression_url"])
        assert (status, headers["x-adserver-event"]) == (200, "accepted")
        found.add(ids.decode(ad["event_id"]))
    asker.close()
    return found


def behind(server: Live, accepted: set[bytes]) -> bool:
    """Whether the ledger lacks some of these; each that is there is there once."""
    with closing(sqlite3.connect(server.data / "ledger.sqlite")) as database:
        found = database.execute("SELECT event_id FROM events WHERE kind = 1 AND status = 1")
        posted = [row[0] for row in found]
    assert len(posted) == len(set(posted))
    return not accepted <= set(posted)
