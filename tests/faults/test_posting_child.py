"""The posting process under a real server: killed, stopped, left behind. Events are acknowledged all the
same, and the books are the journal's in the end: nothing lost, nothing twice."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from kills import Asker, Lost, campaign, publisher, request, world
from live import Live
from processes import alive, workers_of
from small_disks import until

from adserver.domain import ids
from adserver.ledger.place import LEDGER
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

CONNECTIONS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return world(tmp_path / "world", publisher(), campaign("sold", [{"id": "paid"}]))


def running(server: Live) -> int:
    """The posting process, once there is one."""
    found = list[int]()
    until(lambda: found.extend(workers_of(server.pid, "adserver.posting.child")) or found, "nobody posts")
    return found[0]


class Crowd:
    """People who see what they are shown, until told to stop. ``accepted``: what was acknowledged."""

    def __init__(self, server: Live) -> None:
        self._port = server.port
        self.accepted: set[bytes] = set()
        self.stopped = False

    async def watch(self, number: int) -> None:
        asker = Asker(self._port)
        turn = 0
        while not self.stopped:
            turn += 1
            try:
                await self._see(asker, f"u-{number}-{turn}")
            except Lost:
                break
        asker.close()

    async def _see(self, asker: Asker, user: str) -> None:
        status, _, body = await asker.ask("POST", "/v1/decisions", request(user))
        assert status == 200
        for ad in json.loads(body)["decisions"][0]["ads"]:
            status, headers, _ = await asker.ask("GET", ad["impression_url"])
            assert (status, headers["x-adserver-event"]) == (200, "accepted")
            self.accepted.add(ids.decode(ad["event_id"]))


async def under_load(server: Live, trouble: "asyncio._CoroutineLike[None]") -> set[bytes]:
    """What was acknowledged while this happened."""
    crowd = Crowd(server)
    watching = [asyncio.create_task(crowd.watch(number)) for number in range(CONNECTIONS)]
    await trouble
    crowd.stopped = True
    await asyncio.gather(*watching)
    return crowd.accepted


def posted(data: Path) -> list[bytes]:
    with closing(sqlite3.connect(f"file:{data / LEDGER}?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute("SELECT event_id FROM events")]


def metric(server: Live, name: str) -> float:
    lines = server.get("/metrics").body.decode().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return float(line.split()[1])


def audited(data: Path, accepted: set[bytes]) -> None:
    found = posted(data)
    assert accepted <= set(found) and len(found) == len(set(found))
    assert verify(data, report=lambda line: None) == []


def test_killed_twenty_times_under_load(tmp_path: Path, folder: Path) -> None:
    data, chance = tmp_path / "data", Random(11)

    async def kill(server: Live) -> None:
        for number in range(20):
            pid = await asyncio.to_thread(running, server)
            # Now and then at its start, mostly in the midst of its work.
            if number % 4:
                before = len(posted(server.data))
                await asyncio.to_thread(
                    until, lambda before=before: len(posted(server.data)) > before, "nobody posts"
                )
                await asyncio.sleep(chance.random() / 2)
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(until, lambda pid=pid: not alive(pid), "it outlived its end")

    with Live(data, folder) as server:
        accepted = asyncio.run(under_load(server, kill(server)))
        assert metric(server, "adserver_posting_failures_total") >= 15
        until(lambda: metric(server, "adserver_journal_lag_bytes") == 0, "the books did not catch up")
        assert server.stop() == 0
    assert len(accepted) > 100
    audited(data, accepted)


def test_hung_it_delays_the_books_and_nothing_else(tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "data"

    async def seen_for(seconds: float) -> None:
        await asyncio.sleep(seconds)

    with Live(data, folder) as server:
        hung = running(server)
        os.kill(hung, signal.SIGSTOP)
        before = set(posted(data))
        accepted = asyncio.run(under_load(server, seen_for(2)))
        assert len(accepted) > 50
        assert set(posted(data)) <= before | accepted
        assert not accepted <= set(posted(data)), "nobody posts"
        os.kill(hung, signal.SIGCONT)
        until(lambda: accepted <= set(posted(data)), "the books did not catch up")
        os.kill(hung, signal.SIGSTOP)
        accepted |= asyncio.run(under_load(server, seen_for(0.5)))
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 25, "who says nothing is not waited for"
        assert not alive(hung)
        assert not accepted <= set(posted(data))
        # What was not posted is, before the next server is ready.
        server.start()
        assert accepted <= set(posted(data))
        accepted |= asyncio.run(under_load(server, seen_for(0.5)))
        assert server.stop() == 0, "having posted the rest"
    audited(data, accepted)


def test_a_killed_server_takes_it_along(tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "data"
    accepted: set[bytes] = set()

    async def kill(server: Live, after_s: float) -> None:
        await asyncio.sleep(after_s)
        os.kill(server.pid, signal.SIGKILL)

    with Live(data, folder) as server:
        for number in range(4):
            child = running(server)
            accepted |= asyncio.run(under_load(server, kill(server, 0.4 + 0.3 * number)))
            server.kill9()
            until(lambda child=child: not alive(child), "it outlived its server")
            server.start()
            assert accepted <= set(posted(data)), "posted before anybody is served"
        assert server.stop() == 0
    audited(data, accepted)
