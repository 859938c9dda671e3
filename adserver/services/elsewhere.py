"""What an event asks of a database that is not in this process, fetched before the event is judged.

Nothing may wait while one is: whoever did would stop the server while the database is hung. Three things are
asked, all rarely: a creative that the snapshot no longer has, and of late events, of clicks on ads whose
impression is forgotten here, and of ads of processes that are no more, what the ledger has.
``Foreknown.check`` says that one is missing (``Elsewhere``); whoever told the event has it brought, by a few
threads of its own, and tells it again. Nothing has moved until then. Where it cannot be had, for a moment
nobody asks again.

What was brought is believed for less long than an event is remembered (``events.SEEN_EXTRA_MS``), so what is
recorded meanwhile is found there first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Generic, Protocol, TypeVar

from adserver.clock import Clock
from adserver.domain import limits
from adserver.domain.changes import Unread
from adserver.domain.decision import EventKind
from adserver.domain.told import Told
from adserver.services.moved import Memory
from adserver.services.render import Sold
from adserver.tokens import Token

BELIEVED_MS: Final = 60_000
AWAY_MS: Final = 1000
_KIND_BYTES: Final = {kind: bytes((kind,)) for kind in EventKind}
_ASKED: Final = {kind: (kind,) for kind in EventKind} | {
    EventKind.CLICK: (EventKind.IMPRESSION, EventKind.CLICK)
}
"""Of which events it matters whether they were recorded: a click's impression, too."""

K = TypeVar("K")
V = TypeVar("V")


class Elsewhere(Exception):
    """What is needed is not here. ``bring`` waits for it and raises nothing; then the same is done again, or
    ``again``, if some of it is done."""

    def __init__(self, bring: Callable[[], Awaitable[None]]) -> None:
        super().__init__("it is not in this process")
        self.bring = bring
        self.again: Callable[[], Any] | None = None


class Brought(Generic[K, V]):
    """Answers of ``ask``, which blocks, and may raise Unread. Used on the loop."""

    def __init__(self, ask: Callable[[K], V], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._answers = dict[K, tuple[int, V]]()
        self._threads = ThreadPoolExecutor(limits.DATABASE_CONNECTIONS, "elsewhere")
        self._asked = 0
        self._away: tuple[int, Unread] | None = None

    def check(self, key: K) -> None:
        """That the answer is here. Raises Elsewhere, for what is to be brought first; Unread."""
        known, now_ms = self._answers.get(key), self._clock()
        if known is not None and now_ms - known[0] <= BELIEVED_MS:
            return
        if self._away is not None and 0 <= now_ms - self._away[0] < AWAY_MS:
            raise Unread(str(self._away[1]))
        if self._asked >= limits.DATABASE_ASKED:
            raise Unread("too many ask the database")
        raise Elsewhere(lambda: self._bring(key))

    def find(self, key: K) -> V:
        """What was checked in this turn of the loop. Raises Elsewhere, Unread."""
        if key not in self._answers:
            self.check(key)
        return self._answers[key][1]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _bring(self, key: K) -> None:
        self._asked += 1
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, key)
        except Unread as error:
            self._away = self._clock(), error
            return
        finally:
            self._asked -= 1
        self._away = None
        while len(self._answers) >= limits.DATABASE_REMEMBERED:
            del self._answers[next(iter(self._answers))]
        self._answers.pop(key, None)
        self._answers[key] = self._clock(), answer


class Ledger(Protocol):
    def status(self, event_id: bytes, kind: int) -> int | None: ...


class Creatives(Protocol):
    def __call__(self, serial: int) -> Sold | None: ...
    def live(self, serial: int) -> Sold | None:
        """Of the snapshot alone."""
        ...


class Foreknown:
    """``sold`` and ``status`` as the use cases ask them, at once, of what ``check`` found to be here.
    ``left``: whether an ad was decided by a process that is no more, so what became of it is in the ledger
    alone."""

    def __init__(
        self, ledger: Ledger, creatives: Creatives, seen: Memory, clock: Clock, left: Callable[[bytes], bool]
    ) -> None:
        self._left = left
        self._creatives = creatives
        self._seen = seen
        self._clock = clock
        self._formerly = Brought[int, Sold | None](creatives, clock)
        self._statuses = Brought[tuple[bytes, int], int | None](lambda key: ledger.status(*key), clock)

    def sold(self, serial: int) -> Sold | None:
        """Raises Elsewhere, Unread."""
        return self._creatives.live(serial) or self._formerly.find(serial)

    def status(self, event_id: bytes, kind: int) -> int | None:
        """Raises Elsewhere, Unread."""
        return self._statuses.find((event_id, kind))

    def check(self, token: Token, kind: EventKind) -> None:
        """That all is here that an event may ask. Raises Elsewhere, Unread."""
        if self._creatives.live(token.creative) is None:
            self._formerly.check(token.creative)
        for asked in _ASKED[kind]:
            if token.event_id + _KIND_BYTES[asked] not in self._seen.keys and self._is_asked(token, asked):
                self._statuses.check((token.event_id, asked))

    def is_here(self, told: Told, exposed: Container[bytes]) -> bool:
        """Whether nothing is asked elsewhere of an impression; what an ``exposed`` one moves is known."""
        if self._clock() > told[3]:
            return False
        return told[0] in exposed or (self._creatives.live(told[5]) is not None and not self._left(told[0]))

    def is_prompt(self, token: Token, kind: EventKind) -> bool:
        """Whether, as far as can be told from here, whoever decided an ad need ask nothing elsewhere."""
        late = any(self._is_asked(token, asked) for asked in _ASKED[kind])
        return not late and self._creatives.live(token.creative) is not None

    def close(self) -> None:
        self._formerly.close()
        self._statuses.close()

    def _is_asked(self, token: Token, kind: EventKind) -> bool:
        return self._clock() > token.accepted_until_ms(kind) or self._left(token.event_id)


def nothing_is_elsewhere(token: Token, kind: EventKind) -> None:
    """The check where the databases are files beside."""
