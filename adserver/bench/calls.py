"""Whole decisions and events of a server in this process: everything but HTTP."""

import asyncio
import re
from typing import Final

import msgspec
from msgspec import Struct

from adserver.app import App
from adserver.bench.catalogue import Shape
from adserver.domain.decision import EventKind
from adserver.services.ask import DECODER, Ask, Asker, Terms
from adserver.services.calls import Call

BROWSER: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36"
)
IMPRESSION_URL: Final = re.compile(rb'"impression_url":"[a-z]+://[^/"]+(/i/[^"]+)"')
"""In the bytes of an answer; group 1 is the path."""

_TOGETHER: Final = 64
"""Events that wait for one fdatasync."""
_ASKER: Final = Asker(ip="127.0.0.1", user_agent=BROWSER)
_TERMS: Final = Terms()


class Journalled(Struct, frozen=True):
    """Bytes of the journal, frames and marks included; ``ads``: a decision's, in the mean."""

    decision_bytes: float
    ads: float
    event_bytes: float
    events: int


class Whole:
    """An app and who asks it."""

    def __init__(self, app: App, shape: Shape) -> None:
        self._app = app
        self._shape = shape
        self.reply_bytes = 0

    def asks(self, number: int) -> list[bytes]:
        return [msgspec.json.encode(self._shape.request()) for _ in range(number)]

    def decide(self, body: bytes) -> bytes:
        """From the body's bytes to the answer's."""
        ask: Ask = DECODER.decode(body)
        return self._app.server.decide(ask, _ASKER, _TERMS).body

    def decide_many(self, number: int) -> list[bytes]:
        return [self.decide(body) for body in self.asks(number)]

    def journalled(self, number: int) -> Journalled:
        """What ``number`` decisions and the impressions of their ads write."""
        start = self._written()
        answers = self.decide_many(number)
        decided = self._written()
        self.reply_bytes = sum(map(len, answers)) // number
        paths = [path for answer in answers for path in IMPRESSION_URL.findall(answer)]
        asyncio.run(self._tell([path[3:].decode() for path in paths]))
        events = max(len(paths), 1)
        return Journalled(
            round((decided - start) / number, 1),
            round(len(paths) / number, 2),
            round((self._written() - decided) / events, 1),
            len(paths),
        )

    async def _tell(self, tokens: list[str]) -> None:
        call = Call(user_agent=BROWSER)
        for first in range(0, len(tokens), _TOGETHER):
            batch = tokens[first : first + _TOGETHER]
            await asyncio.gather(
                *(self._app.recorder.record(token, EventKind.IMPRESSION, call) for token in batch)
            )

    def _written(self) -> int:
        position = self._app.journal.position
        return position.segment * self._app.settings.segment_bytes + position.offset
