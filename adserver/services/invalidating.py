"""Invalid traffic found later: accepted events are taken back, each once.

A reversal is a record of the journal like any other, so books, budgets and audits follow from it: the money
goes back to the budgets it was taken from, goals and learned rates forget the event, gross counts keep it.
Only what is posted can be taken back; an event of the last second is told as unknown and can be asked again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from adserver.clock import Clock
from adserver.domain import ids, limits, money
from adserver.domain.books import JournalClosed, Position
from adserver.domain.counted import COUNTED
from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, Reversed
from adserver.services.ports import Journal
from adserver.services.refusals import Refused

_TURN: Final = 100
"""Events taken back in one turn of the loop: an ad may have led to any number of conversions."""


class Books(Protocol):
    """Posted events. Blocking: called from a thread."""

    @property
    def position(self) -> Position: ...
    def reversible(self, event_ids: Sequence[bytes]) -> list[Reversed]: ...
    def conversions_of(self, event_ids: Sequence[bytes]) -> list[bytes]: ...


class Spending(Protocol):
    def refund(self, found: Reversed, counted: str | None) -> None: ...
    def terms(self, line_item: int) -> LineItemTerms | None: ...


class Touches(Protocol):
    def taken_back(self, found: Reversed) -> None: ...


class Invalidated(Struct, frozen=True):
    """``kinds``: of the events taken back under this id; empty: there is none posted, or all were before.
    ``currency``: of what was refunded, the campaign's."""

    event_id: str
    kinds: tuple[str, ...]
    currency: str
    refunded_nanos: int


class TakingBack(Protocol):
    async def reverse(self, event_ids: Sequence[str], reason: str) -> list[Invalidated]:
        """As ``Invalidation.reverse``."""
        ...


class Invalidation:
    """The use case. ``written``: the journal's end."""

    def __init__(
        self, journal: Journal, books: Books, budgets: Spending, touches: Touches, clock: Clock,
        written: Callable[[], Position],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._books = books
        self._budgets = budgets
        self._touches = touches
        self._clock = clock
        self._written = written
        self._unposted: dict[tuple[bytes, int], Position] = {}
        self._one_at_a_time = asyncio.Lock()

    async def reverse(self, event_ids: Sequence[str], reason: str) -> list[Invalidated]:
        """Told once it is durable, of what was asked and then of conversions owed to it.
        Raises Refused: 400 for what is no event id, 503 where there is no room,
        and nothing more was taken back then than what a second call finds done."""
        wanted = dict.fromkeys(ids_of(event_ids))
        done: dict[bytes, list[Reversed]] = {event_id: [] for event_id in wanted}
        # What another call takes back while the ledger is asked, neither it nor ``_unposted`` might tell.
        async with self._one_at_a_time:
            self._forget_posted()
            for number, event in enumerate(await asyncio.to_thread(self._reversible, list(wanted)), 1):
                if (event.event_id, event.kind) not in self._unposted:
                    done.setdefault(event.event_id, []).append(self._take_back(event, reason))
                if number % _TURN == 0:
                    await asyncio.sleep(0)
        await asyncio.shield(self._journal.synced())
        return [self._told(event_id, taken) for event_id, taken in done.items()]

    def _reversible(self, event_ids: list[bytes]) -> list[Reversed]:
        """With an ad's events go the conversions that were owed to them."""
        owed = set(self._books.conversions_of(event_ids)).difference(event_ids)
        return self._books.reversible([*event_ids, *owed])

    def _take_back(self, event: Reversed, reason: str) -> Reversed:
        taken = msgspec.structs.replace(event, at_ms=self._clock(), reason=reason)
        try:
            self._journal.append(taken)
        except JournalClosed:
            raise Refused(503, "reversals cannot be kept: no room on disk") from None
        self._unposted[event.event_id, event.kind] = self._written()
        self._touches.taken_back(taken)
        self._budgets.refund(taken, COUNTED.get(EventKind(event.kind)))
        return taken

    def _told(self, event_id: bytes, taken: Sequence[Reversed]) -> Invalidated:
        kinds = tuple(EventKind(event.kind).name.lower() for event in taken)
        terms = self._budgets.terms(taken[0].line_item) if taken else None
        nanos = sum(event.billed_nanos for event in taken)
        return Invalidated(ids.encode(event_id), kinds, "" if terms is None else terms.currency, nanos)

    def _forget_posted(self) -> None:
        """What is posted, the ledger knows."""
        posted = self._books.position
        for key in [key for key, position in self._unposted.items() if position <= posted]:
            del self._unposted[key]


def ids_of(texts: Sequence[str]) -> list[bytes]:
    """Raises Refused (400)."""
    found, errors = list[bytes](), list[tuple[str, str]]()
    for number, text in enumerate(texts):
        try:
            found.append(ids.decode(text))
        except ValueError as error:
            errors.append((f"events[{number}]", str(error)))
    if errors:
        raise Refused(400, "not event ids", errors[: limits.PROBLEMS_PER_DOCUMENT])
    return found


def refunded(results: Sequence[Invalidated]) -> list[tuple[str, int]]:
    """(currency, micros) of all that was refunded, each rounded down."""
    sums = Counter[str]()
    for result in results:
        sums[result.currency] += result.refunded_nanos
    return [(currency, money.floor_micros(nanos)) for currency, nanos in sorted(sums.items()) if nanos]
