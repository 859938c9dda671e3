"""An exchange: recorded OpenRTB bid requests, of whose bids some are shown and some lose."""

import os
import re
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

from adserver.demo.client import Client
from adserver.demo.pace import Pace
from adserver.demo.readers import path_of
from adserver.demo.score import Score
from adserver.domain.decision import EventKind

VARIABLE: Final = "ADSERVER_DEMO_REQUESTS"
_NAME: Final = "openrtb_requests.jsonl"
OWN: Final = Path(__file__).with_name("assets") / _NAME
_PIXEL: Final = re.compile(r"https?://[^/\s\"'<>\\]+/i/[A-Za-z0-9_=-]+")


class NoRequests(Exception):
    """The file of recorded requests cannot be used."""


def find() -> Path:
    """The recorded requests: where the environment says, beside the clone, else the packaged few."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / _NAME
    return beside if beside.is_file() else OWN


def read(path: Path) -> list[dict[str, Any]]:
    """One ``{"request": {..}}`` a line. Raises NoRequests."""
    try:
        lines = path.read_bytes().splitlines()
        requests = [orjson.loads(line)["request"] for line in lines if line.strip()]
    except OSError as error:
        raise NoRequests(f"{path} cannot be read: {error.strerror}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise NoRequests(f'{path} is not a file of {{"request": ..}} lines ({error})') from error
    if not requests:
        raise NoRequests(f"{path} holds no requests")
    return requests


class Exchange:
    """Asks for one bid after the other. ``open``: whether the server takes part."""

    def __init__(
        self, requests: list[dict[str, Any]], client: Client, pace: Pace, score: Score, chance: Random
    ) -> None:
        self.open = True
        self.size = len(requests)
        self._client, self._pace, self._score, self._chance = client, pace, score, chance
        self._requests: Iterator[tuple[int, dict[str, Any]]] = cycle(enumerate(requests))
        self._round = 0

    async def auction(self) -> None:
        """The next request and what comes of it. Raises Lost."""
        number, request = next(self._requests)
        self._round += number == 0
        # The same id within a minute would be answered from memory.
        body = orjson.dumps({**request, "id": f"{str(request.get('id', ''))[:40]}-{self._round}-{number}"})
        await self._pace.turn()
        reply = await self._client.ask("POST", "/openrtb2/auction", body)
        if reply.status == 404:
            self.open = False
            return
        self._score.decided("auction", reply.seconds)
        if reply.status == 200:
            for seat in orjson.loads(reply.body)["seatbid"]:
                for bid in seat["bid"]:
                    await self._settle(bid)
        elif reply.status != 204:
            self._score.failures[f"auction {reply.status}"] += 1

    async def _settle(self, bid: dict[str, Any]) -> None:
        self._score.bids += 1
        dice = self._chance.random()
        if dice < 0.6:
            await self._show(bid)
        elif dice < 0.9 and "lurl" in bid:
            await self._client.ask("GET", path_of(bid["lurl"]))
            self._score.lost += 1

    async def _show(self, bid: dict[str, Any]) -> None:
        pixel = _PIXEL.search(bid.get("adm", ""))
        if pixel is None:
            self._score.failures["bid without an impression pixel"] += 1
            return
        self._score.asked["event"] += 1
        reply = await self._client.ask("GET", path_of(pixel[0]))
        verdict = reply.headers.get("x-adserver-event", "none")
        self._score.verdicts[verdict] += 1
        if verdict == "accepted":
            billed = reply.headers.get("x-adserver-billed") == "true"
            self._score.spend.count(None, EventKind.IMPRESSION, billed)
        if reply.status != 200:
            self._score.failures[f"impression {reply.status}"] += 1
