"""Deposits, credits and make-goods: booked by operators, each once, durable before it is told."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from adserver.clock import Clock
from adserver.domain import money
from adserver.domain.books import JournalClosed, Position
from adserver.domain.credits import Credit
from adserver.domain.records import Credited
from adserver.services.manage import Who, absent, visible
from adserver.services.ports import Journal
from adserver.services.refusals import Refused
from adserver.services.world import World


class Books(Protocol):
    """What is posted. Blocking: called from a thread."""

    @property
    def position(self) -> Position: ...
    def credit(self, advertiser: int, credit: str) -> Credit | None: ...
    def serial_of(self, side: str, owner: str) -> int | None: ...
    def currencies(self, advertiser: int) -> set[str]: ...


class Wallets(Protocol):
    """Budgets, of which some are what was paid in."""

    def pay_in(self, advertiser: int, currency: str, nanos: int) -> None: ...


class Crediting:
    """The use case. ``written``: the journal's end; ``unposted``: what was booked, and up to where it stands
    in the journal, until the ledger knows it."""

    def __init__(
        self, journal: Journal, books: Books, wallets: Wallets, world: World, clock: Clock,
        written: Callable[[], Position],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._books = books
        self._wallets = wallets
        self._world = world
        self._clock = clock
        self._written = written
        self.unposted: dict[tuple[int, str], tuple[Credit, Position]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def book(
        self, who: Who, owner: str, credit: str, kind: str, currency: str, amount_micros: int, reason: str
    ) -> Credit:
        """What is booked under this id: now, or before. Raises Refused: 400 for another currency, 403, 404,
        409 where the id stands for something else, 503 where there is no room."""
        visible(who, "advertiser", (owner,))
        if who.role != "operator":
            raise Refused(403, "credits are booked by operators")
        advertiser = await self._serial(owner)
        wanted = Credit(credit, kind, currency, amount_micros, self._clock(), reason)
        async with self._one_at_a_time:
            self._forget_posted()
            known = self.unposted.get((advertiser, credit), (None,))[0]
            if known is None:
                known = await asyncio.to_thread(self._books.credit, advertiser, credit)
            if known is None:
                await self._check_currency(owner, advertiser, currency)
                known = self._write(advertiser, wanted)
        if _said(known) != _said(wanted):
            raise Refused(409, f"{credit} was booked before, as something else")
        await asyncio.shield(self._journal.synced())
        return known

    def _write(self, advertiser: int, credit: Credit) -> Credit:
        record = Credited(
            credit.id, advertiser, credit.kind, credit.currency, credit.amount_micros, credit.at_ms,
            credit.reason,
        )  # fmt: skip
        try:
            self._journal.append(record)
        except JournalClosed:
            raise Refused(503, "credits cannot be kept: no room on disk") from None
        self.unposted[advertiser, credit.id] = credit, self._written()
        # What is sold by it stands behind it in the journal.
        self._wallets.pay_in(advertiser, credit.currency, money.nanos(credit.amount_micros))
        return credit

    def _forget_posted(self) -> None:
        posted = self._books.position
        for key in [key for key, (_, behind) in self.unposted.items() if behind <= posted]:
            del self.unposted[key]

    async def _check_currency(self, owner: str, advertiser: int, currency: str) -> None:
        found = self._world.snapshot.advertisers.get(owner)
        known = {found.currency} if found is not None and found.currency else set[str]()
        known = known or await asyncio.to_thread(self._books.currencies, advertiser)
        if known and currency not in known:
            told = " or ".join(sorted(known))
            raise Refused(400, "another currency", [("currency", f"{owner} is billed in {told}")])

    async def _serial(self, owner: str) -> int:
        found = self._world.snapshot.advertisers.get(owner)
        serial = None if found is None else found.serial
        if serial is None:
            serial = await asyncio.to_thread(self._books.serial_of, "advertiser", owner)
        if serial is None:
            absent()
        return serial


def _said(credit: Credit) -> tuple[str, str, int, str]:
    return credit.kind, credit.currency, credit.amount_micros, credit.reason
