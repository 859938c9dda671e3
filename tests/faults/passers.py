"""Fifty clients at once on a server whose state is shared: people whose ads are capped at one, two and three,
and readers of feeds, page after page. They remember all that was answered, so that it can be counted."""

import asyncio
import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from kills import Asker, campaign, publisher, request
from live import Live
from test_shared_state import known, soon

from adserver.ledger.verify import verify

CAPS = {"one": 1, "two": 2, "three": 3}
_READERS, _PEOPLE = 10, 40
CLIENTS = _READERS + _PEOPLE
_TOGETHER = 16
"""So many requests of one person one after the other, by as many clients."""
_PAUSE_S = 0.05
_PATIENCE_S = 60.0
_FINISHING = 8

DOCUMENTS = (
    publisher(),
    campaign(
        "capped",
        [
            {
                "id": name,
                "frequency_caps": [{"limit": limit, "per": "1d"}],
                "pricing": {"model": "cpm", "amount": f"{9 - limit}.00"},
            }
            for name, limit in CAPS.items()
        ],
    ),
    campaign("rest", [{"id": "rest", "pricing": {"model": "cpm", "amount": "0.50"}}]),
)


class Passers:
    """``with Passers(server) as passers: trouble()``. ``took_s``: how long decisions took."""

    def __init__(self, server: Live) -> None:
        self.server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._pass()), daemon=True)
        self._asked = 0
        self.shown: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.urls: list[str] = []
        self.recorded: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.took_s: list[float] = []
        self.pages: dict[tuple[str, int], Any] = {}
        self.unknown = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait(100)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_PATIENCE_S)

    def wait(self, more: int) -> None:
        """Until so many more decisions were answered."""
        until, deadline = len(self.took_s) + more, time.monotonic() + _PATIENCE_S
        while len(self.took_s) < until:
            assert time.monotonic() < deadline, "no answers"
            time.sleep(0.01)

    # -- on their thread ---------------------------------------------------------------------------

    async def _pass(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for _ in range(_PEOPLE):
                clients.create_task(self._people())
            for number in range(_READERS):
                clients.create_task(self._reader(f"reader-{number}"))

    async def _people(self) -> None:
        asker = Asker(self.server.port)
        while not self._over.is_set():
            await self._person(asker, f"u-{self._asked // _TOGETHER}")
            await asyncio.sleep(_PAUSE_S)
        asker.close()

    async def _person(self, asker: Asker, who: str) -> list[str]:
        slot = await self._decided(asker, request(who))
        names = [ad["line_item"] for ad in slot["ads"]]
        self.shown[who].update(names)
        for ad in slot["ads"]:
            self.urls.append(ad["impression_url"])
            if len(self.urls) % 3:
                await self._impression(asker, ad["impression_url"])
        return names

    async def _impression(self, asker: Asker, url: str) -> None:
        status, headers, _ = await asker.ask("GET", url)
        if status != 200:
            self.wrong.append(f"impression: {status}")
        self.recorded[headers.get("x-adserver-event", "")] += 1

    async def _reader(self, session: str) -> None:
        asker, page = Asker(self.server.port), 0
        while not self._over.is_set():
            feed = {"id": "main", "page": page, "organic_count": 10}
            asked = {"placements": [{"id": "feed", "feed": feed}], "session": session}
            slot = await self._decided(asker, asked)
            if slot.get("feed") is None:
                self.unknown += 1
            elif self.pages.setdefault((session, page), slot) != slot:
                self.wrong.append(f"{session}: page {page} was another")
            else:
                page += self._asked % 3 > 0
            await asyncio.sleep(_PAUSE_S)
        asker.close()

    async def _decided(self, asker: Asker, asked: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        began = time.monotonic()
        status, _, body = await asker.ask("POST", "/v1/decisions", asked)
        self.took_s.append(time.monotonic() - began)
        if status != 200:
            self.wrong.append(f"decision: {status} {body[:300]!r}")
            return {"ads": []}
        slot: dict[str, Any] = json.loads(body)["decisions"][0]
        return slot

    # -- afterwards --------------------------------------------------------------------------------

    def finish(self) -> dict[str, dict[str, int]]:
        """Everybody asks until they have all they may have, and once more; every impression is told again.
        Whoever was shown another number than their caps allow, and of what."""
        asyncio.run(self._finish())
        found = {who: {name: shown[name] for name in CAPS} for who, shown in self.shown.items()}
        return {who: counts for who, counts in found.items() if counts != CAPS}

    async def _finish(self) -> None:
        people = list(self.shown)
        await asyncio.gather(*(self._rest(people[number::_FINISHING]) for number in range(_FINISHING)))
        asker = Asker(self.server.port)
        for url in self.urls:
            await self._impression(asker, url)
        asker.close()

    async def _rest(self, people: list[str]) -> None:
        """As long as a busy machine may need: it misses deadlines of its own."""
        asker, deadline = Asker(self.server.port), time.monotonic() + _PATIENCE_S
        for who in people:
            while any(self.shown[who][name] < most for name, most in CAPS.items()):
                if time.monotonic() > deadline:
                    break
                if await self._person(asker, who) == ["rest"]:
                    # It was away for a moment.
                    await asyncio.sleep(_PAUSE_S)
            await self._person(asker, who)
        asker.close()


def pass_through(server: Live, troubles: Iterable[Callable[[Passers], None]]) -> None:
    """Somebody passes through each of these: nothing fails, caps and feeds hold, nobody is held for more than
    they were shown, and what was acknowledged counts once, by the audit too. The server has ended then."""
    soon(lambda: known(server))
    with Passers(server) as passers:
        for befall in troubles:
            befall(passers)
            soon(lambda: known(server))
            passers.wait(50)
    finished(server, passers)


def finished(server: Live, passers: Passers) -> None:
    """All is as it should be, and what was accepted is in the books. The server has ended then."""
    others = passers.finish()
    assert server.stop() == 0
    assert passers.wrong == []
    assert others == {}
    assert passers.pages
    accepted, urls = passers.recorded["accepted"], passers.urls
    assert accepted == len(set(urls)) == len(urls)
    told: list[str] = []
    assert verify(server.data, report=told.append) == []
    (events,) = (found[1] for line in told if (found := re.match(r"law 4: (\d+) events", line)))
    assert int(events) == accepted
