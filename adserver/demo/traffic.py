"""All the traffic of the demo: so many sessions at a time, one exchange beside them, one pace for both."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import orjson

from adserver.demo.client import Client, Lost
from adserver.demo.crowd import Crowd
from adserver.demo.exchange import Exchange
from adserver.demo.pace import Pace
from adserver.demo.readers import Reader
from adserver.demo.score import Score

RATE: Final = 300.0
"""Decisions a second, at most."""
CALM_AFTER_S: Final = 600
CALM_RATE: Final = 40.0
"""Then slower: the driver remembers everything it saw, some 700 bytes an ad, for the audit at the end."""
SESSIONS: Final = 160
_AUCTIONS: Final = 8
_PUBLISHERS: Final = {"lumen": 6, "papote": 2, "harbour-gazette": 2}


class Traffic:
    """``run`` until cancelled. ``numbers``: what the server last told of itself."""

    def __init__(
        self, client: Client, score: Score, requests: list[dict[str, Any]], chance: Random, rate: float = RATE
    ) -> None:
        self.numbers: dict[str, Any] = {}
        self.pace = Pace(rate, score.slowness)
        self.exchange = Exchange(requests, client, self.pace, score, chance)
        self._client, self._score, self._chance = client, score, chance

    async def run(self) -> None:
        crowd = Crowd(self._chance, await self._guests())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pace.adapt())
            tasks.create_task(self._watch())
            tasks.create_task(self._calm())
            for _ in range(SESSIONS):
                tasks.create_task(self._forever(lambda: self._reader(crowd).read()))
            for _ in range(_AUCTIONS):
                tasks.create_task(self._forever(self.exchange.auction, lambda: self.exchange.open))

    def _reader(self, crowd: Crowd) -> Reader:
        publisher = self._chance.choices(list(_PUBLISHERS), list(_PUBLISHERS.values()))[0]
        person = crowd.anybody()
        return Reader(publisher, person, crowd, self._client, self.pace, self._score, self._chance)

    async def _forever(
        self, act: Callable[[], Awaitable[None]], going: Callable[[], bool] = lambda: True
    ) -> None:
        await asyncio.sleep(self._chance.random())
        while going():
            try:
                await act()
            except Lost as lost:
                self._score.failures[str(lost)] += 1
                await asyncio.sleep(0.5)
            except (KeyError, TypeError, ValueError) as error:
                self._score.failures[f"an answer was not as the contract says: {error!r}"] += 1
                await asyncio.sleep(0.5)

    async def _guests(self) -> frozenset[str]:
        """The users of the page's personas: left to whoever looks at the page."""
        reply = await self._client.ask("GET", "/demo/people")
        return frozenset(person["id"] for person in orjson.loads(reply.body))

    async def _calm(self) -> None:
        await asyncio.sleep(CALM_AFTER_S)
        self.pace.most = min(self.pace.most, CALM_RATE)

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(1)

    async def look(self) -> None:
        """Ask the server for its own numbers."""
        try:
            reply = await self._client.ask("GET", "/demo/numbers")
        except Lost as lost:
            self._score.failures[str(lost)] += 1
            return
        if reply.status == 200:
            self.numbers = orjson.loads(reply.body)
        else:
            self._score.failures[f"numbers {reply.status}"] += 1
