"""The server's end of posting: says how far the journal is on disk, and hears how far it is posted.

The child (``children``) may die, hang or find the disk full: events are acknowledged all the same, wait in
the journal, and are posted when one can. What it did not tell is in the ledger or not, never in part.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

import msgspec

from adserver.children import Child, Died
from adserver.databases import TOLD
from adserver.domain import limits
from adserver.domain.books import Position
from adserver.posting.child import Told

HUNG_S: Final = 30.0
"""A child that has something to post and is silent for so long is killed; turns take tenths of seconds."""
PATIENCE_S: Final = 5.0
"""How long a stopping server waits for the next word."""
_PAUSE_MAX_S: Final = 4.0
_TOLD: Final = msgspec.json.Decoder(Told)


class NotPosted(Exception):
    """Posting got no further, for now; the message is for the operator."""


class Books(Protocol):
    """The ledger, as this process reads it."""

    @property
    def position(self) -> Position: ...
    def moved(self, position: Position) -> None: ...


class Clerk:
    """Of the journal of process ``number`` in the data folder ``data``; ``ledger`` is told how far it is.
    ``seconds``: a clock; ``people_days``: for how long the ledger knows who saw what; ``url``: of the
    database that the ledger is in, if it is in no file; ``leased``: what is billed comes out of the process's
    leases.

    ``refused``: events the journal billed and the books must not, since this server began; ``failing``: why
    posting waits, if it does."""

    def __init__(
        self, data: Path, ledger: Books, seconds: Callable[[], float] = monotonic,
        people_days: int = limits.PEOPLE_DAYS, url: str = "", number: int = 0, leased: bool = False,
    ) -> None:  # fmt: skip
        holder = (str(number),) if leased else ()
        arguments = str(data), str(people_days), str(number), *holder
        self._ledger = ledger
        self._seconds = seconds
        self._child = Child("adserver.posting.child", lambda: arguments, _PAUSE_MAX_S, {TOLD: url})
        self._heard_s = seconds()
        self._news = asyncio.Event()
        self.refused = 0
        self.failing = ""

    async def begin(self) -> None:
        """Start the child, before anybody is served."""
        await self._child.begin()

    async def hear(self) -> bool:
        """Wait for the child's next word and pass it on; False once it was ended. Raises NotPosted, the first
        time it says why it gets no further, and where it died."""
        try:
            line = await self._child.heard()
        except Died as died:
            self._heard_s = self._seconds()
            # Whatever the next one says is news, though the last one said it too.
            self.failing = f"the posting process {died}"
            raise NotPosted(self.failing) from died
        if line is None:
            return False
        self._take(_TOLD.decode(line))
        return True

    def _take(self, told: Told) -> None:
        self._heard_s = self._seconds()
        self._ledger.moved(told.position)
        self.refused += told.refused
        known, self.failing = self.failing, told.error
        self._news.set()
        if not told.error:
            self._child.worked()
        elif told.error != known:
            raise NotPosted(told.error)

    def ask(self, until: Position) -> None:
        """Have everything up to there posted; what was asked before may be asked again."""
        if until <= self._ledger.position:
            self._heard_s = self._seconds()
            return
        self._child.say(msgspec.json.encode(until) + b"\n")
        if self._seconds() - self._heard_s > HUNG_S:
            self._child.kill()

    async def finish(self, until: Position) -> None:
        """Have everything up to there posted, as long as it gets on and within ``limits.POSTED_S``, while
        somebody hears (``hear``). Raises NotPosted."""
        until_s = self._seconds() + limits.POSTED_S
        while self._ledger.position < until:
            if self._seconds() > until_s:
                raise NotPosted("there is more to be posted than there is time for")
            self._news.clear()
            self.ask(until)
            try:
                await asyncio.wait_for(self._news.wait(), PATIENCE_S)
            except TimeoutError:
                raise NotPosted("the posting process says nothing") from None
            if self.failing:
                raise NotPosted(self.failing)

    async def end(self) -> None:
        """End the child, whatever it is doing, and it is gone."""
        await self._child.end()
