"""Laws 3 and 4, audited: the books made again from the raw journal, by rules written down a second time.

Nothing here is shared with posting but the names of accounts, which are the contract being checked. Every
event must belong to a decision in the journal and agree with it (line item, creative, placement, day,
price; billed at the price or not at all, for the kind its pricing model bills, at most once per event
id); every reversal to an event that counted. Budgets are followed through time by ``audit_budgets``.

The journal is read once: what a record says is packed into a row (``audit_rows``), with the terms in force
at that moment by number; the judging is done on whole columns, and only what looks wrong is looked at by
itself. Cost: some 3 µs a record, 90 bytes an ad decided, 130 an event.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from adserver.domain import ids
from adserver.domain.campaign import MODELS
from adserver.domain.conversions import Converted
from adserver.domain.credits import PREPAID
from adserver.domain.decision import EventKind, event_id
from adserver.domain.fees import Accrued
from adserver.domain.records import (
    Closed,
    Credited,
    Decided,
    LineItemTerms,
    PlacementTerms,
    Record,
    Recorded,
    Reversed,
    Status,
    Unbilled,
)
from adserver.ledger.audit_ahead import PaidAhead
from adserver.ledger.audit_limits import Limits
from adserver.ledger.audit_rows import Rows, fee_ident
from adserver.ledger.audit_statements import Booked, Closing, Owners

TEST: Final = 1
ALL_DAYS: Final = -1
NOBODY: Final = -1
"""No terms, no pair of accounts."""

PROMISED: Final = (
    "number", "line_item", "creative", "placement", "price", "test", "expires", "model", "zone", "whence",
)  # fmt: skip
"""An ad as it was decided; ``number``: which record of the journal that was. ``model`` and ``zone`` are of
that moment too: a line item may be sold otherwise by the time of the event."""
EVENT: Final = (
    "kind", "status", "at_ms", "line_item", "creative", "placement", "day", "billed", "free", "unbilled",
    "test", "whence",
)  # fmt: skip
"""In the order of the ledger's columns, but for the reason; ``whence``: country and device as one number."""
HEARD: Final = (*EVENT, "number", "terms", "pair")
"""``terms``: the version in force then; ``pair``: of accounts that the money moved between."""
REVERSAL: Final = ("kind", "at_ms", "billed")
TAKEN_BACK: Final = (*REVERSAL, "line_item", "creative", "placement", "day", "number", "whence", "flat")

Pair = tuple[str, str, str]
"""(debit, credit, currency)."""
PPM: Final = 1_000_000


class Heard:
    """What the journal said so far, as rows. ``versions``: of terms, by number, and the records that ``told``
    them; ``pairs``: of accounts, and
    ``shares`` what of a bill between them is the publisher's, in parts per million; ``zones``: of time, by
    number; ``budgets``: their limits; ``reasons``: (event id, kind, status) -> the
    reason, of events that have one, and under status 0 of reversals. ``conversions``: (record, what it says);
    ``owed``: those owed to an ad as events, and ``ads``: to which; ``accrued``: (record, a day's fee), and
    ``fees``: their parts as events. ``shared``: by several processes, of which
    each hears of a lowered limit a little later; ``unposted``: records of decisions that the books do not
    know."""

    def __init__(self, shared: bool = False) -> None:
        self.number = 0
        self.promises = Rows(PROMISED)
        self.events = Rows(HEARD)
        self.reversals = Rows(TAKEN_BACK)
        self.conversions: list[tuple[int, Converted]] = []
        self.owed = Rows(HEARD)
        self.ads: dict[bytes, bytes] = {}
        self.accrued: list[tuple[int, Accrued]] = []
        self.fees = Rows(HEARD)
        self.versions: list[LineItemTerms] = []
        self.told: list[int] = []
        self.pairs: list[Pair] = []
        self.shares: list[int] = []
        self.zones: list[str] = ["UTC"]
        self.budgets = Limits(shared)
        self.reasons: dict[tuple[bytes, int, int], str] = {}
        self.unposted: list[int] = []
        self._revisions: dict[str, int] = {}
        self._keys: set[bytes] = set()
        self.closings: list[Closing] = []
        self.booked: list[Booked] = []
        self._ahead = PaidAhead()
        self._terms: dict[int, int] = {}
        self._sells: defaultdict[int, dict[int, LineItemTerms]] = defaultdict(dict)
        self._payees: dict[int, tuple[int, int]] = {}
        self._pair_of: dict[tuple[Pair, int], int] = {}
        self._zone_of: dict[str, int] = {"UTC": 0}

    def take(self, record: Record) -> None:
        """The next record of the journal."""
        self.number += 1
        self.budgets.pass_time(record, self.number)
        if isinstance(record, Recorded):
            self._event(record)
        elif isinstance(record, Decided):
            self._promise(record)
        elif isinstance(record, Reversed):
            self._reversal(record)
        elif isinstance(record, Converted):
            self._convert(record)
        elif isinstance(record, Accrued):
            self._accrue(record)
        elif isinstance(record, LineItemTerms):
            self._learn(record)
        elif isinstance(record, Closed):
            self._close(record)
        elif isinstance(record, Credited):
            self.booked.append(Booked(self.number, record))
            self._ahead.pay_in(record, self._limit)
        elif isinstance(record, PlacementTerms):
            self._payees[record.serial] = record.publisher, record.revenue_share_ppm

    def overhear(self, decided: Decided) -> None:
        """One that is not posted. Where its machine never comes back, events of its ads are another's."""
        self.number += 1
        self.unposted.append(self.number)
        self._promise(decided)

    def _learn(self, terms: LineItemTerms) -> None:
        self._terms[terms.serial] = len(self.versions)
        self.versions.append(terms)
        self.told.append(self.number)
        self._sells[terms.advertiser][terms.serial] = terms
        named = {(budget.account, budget.period): budget.limit_nanos for budget in terms.budgets}
        for account in levels(terms):
            stale = terms.revision < self._revisions.get(account, 0)
            self._revisions[account] = max(terms.revision, self._revisions.get(account, 0))
            for period in ("lifetime", "day"):
                limit = named.get((account, period))
                if period == "lifetime":
                    ahead = (account, PREPAID) in named
                    limit = self._ahead.limit(account, terms.currency, limit, ahead, stale)
                self._limit((account, period), limit, stale, terms.at_ms)

    def _limit(self, key: tuple[str, str], limit: int | None, stale: bool, told_ms: int) -> None:
        self.budgets.tell(key, limit, stale, told_ms, self.number)

    def _close(self, closed: Closed) -> None:
        side, _, serial = closed.party.partition(":")
        terms = dict(self._sells[int(serial)]) if side == "advertiser" else {}
        self.closings.append(Closing(self.number, closed, terms))

    def sold(self) -> list[LineItemTerms]:
        """What was told last of each line item, the newest behind."""
        terms = [self.versions[version] for version in self._terms.values()]
        return sorted(terms, key=lambda one: (one.revision, one.at_ms))

    def owners(self) -> Owners:
        """Of everything that was told."""
        terms = [self.versions[version] for version in self._terms.values()]
        return Owners(
            {one.serial: one.advertiser for one in terms},
            {one.serial: one.currency for one in terms},
            {placement: publisher for placement, (publisher, _) in self._payees.items()},
        )

    def _promise(self, record: Decided) -> None:
        decision, number = record.decision, self.number
        test, whence = int(decision.mode == TEST), whence_of(decision.country, decision.device)
        for slot in decision.slots:
            for ad in slot.ads if slot.repeated is None else ():
                self.promises.add(
                    event_id(decision.request_id, ad.index), number, ad.line_item, ad.creative,
                    slot.placement, ad.price_nanos, test, slot.expires_ms, ad.model, self._zone(ad.line_item),
                    whence,
                )  # fmt: skip

    def zones_told(self) -> list[int]:
        """The number of each version's time zone."""
        return [self._zone_named(terms.timezone) for terms in self.versions]

    def _zone(self, line_item: int) -> int:
        version = self._terms.get(line_item)
        return 0 if version is None else self._zone_named(self.versions[version].timezone)

    def _zone_named(self, name: str) -> int:
        found = self._zone_of.get(name)
        if found is None:
            found = self._zone_of[name] = len(self.zones)
            self.zones.append(name)
        return found

    def _event(self, event: Recorded) -> None:
        version, billed = self._terms.get(event.line_item, NOBODY), event.billed_nanos
        self.events.add(
            event.event_id, event.kind, event.status, event.at_ms, event.line_item, event.creative,
            event.placement, event.day, billed, event.free_nanos, event.unbilled, event.test,
            whence_of(event.country, event.device), self.number,
            version, self._pair(version, event.placement) if billed else NOBODY,
        )  # fmt: skip
        if event.reason:
            self.reasons[event.event_id, event.kind, event.status] = event.reason

    def _convert(self, told: Converted) -> None:
        self.conversions.append((self.number, told))
        known = told.key in self._keys
        self._keys.add(told.key)
        if told.touch is None or known:
            return
        version, billed = self._terms.get(told.line_item, NOBODY), told.billed_nanos
        ident = told.touch[:6] + told.key[:10]
        self.ads[ident] = told.touch
        self.owed.add(
            ident, EventKind.CONVERSION, Status.ACCEPTED, told.at_ms, told.line_item, told.creative,
            told.placement, told.day, billed, told.free_nanos, told.unbilled, 0,
            whence_of(told.country, told.device), self.number, version,
            self._pair(version, told.placement) if billed else NOBODY,
        )  # fmt: skip

    def _accrue(self, fee: Accrued) -> None:
        self.accrued.append((self.number, fee))
        version = self._terms.get(fee.line_item, NOBODY)
        for index, (placement, _, nanos) in enumerate(fee.parts):
            billed = 0 if fee.unbilled else nanos
            reason = 0 if billed else fee.unbilled if nanos else int(Unbilled.FREE)
            ident = fee_ident(fee.start_ms, fee.line_item, placement, index)
            self.fees.add(
                ident, 0, Status.ACCEPTED, fee.at_ms, fee.line_item, 0, placement, fee.day, billed,
                nanos - billed, reason, 0, 0, self.number, version, self._pair(version, placement),
            )  # fmt: skip

    def _pair(self, version: int, placement: int) -> int:
        if version == NOBODY:
            return NOBODY
        terms, (publisher, share) = self.versions[version], self._payees.get(placement, (None, PPM))
        debit = f"advertiser:{terms.advertiser}:{terms.currency}"
        pair = debit, f"publisher:{publisher}:{terms.currency}", terms.currency
        found = self._pair_of.get((pair, share))
        if found is None:
            found = self._pair_of[pair, share] = len(self.pairs)
            self.pairs.append(pair)
            self.shares.append(share)
        return found

    def _reversal(self, found: Reversed) -> None:
        self.reversals.add(
            found.event_id, found.kind, found.at_ms, found.billed_nanos, found.line_item, found.creative,
            found.placement, found.day, self.number, whence_of(found.country, found.device), found.flat,
        )  # fmt: skip
        self.reasons.setdefault((found.event_id, found.kind, 0), found.reason)


Tell = Callable[[str], None]


@lru_cache(maxsize=10_000)
def whence_of(country: str, device: int) -> int:
    return int.from_bytes(country.encode(), "big") << 8 | device


def levels(terms: LineItemTerms) -> tuple[str, str, str]:
    return f"line_item:{terms.serial}", f"campaign:{terms.campaign}", f"advertiser:{terms.advertiser}"


def name_of(ident: bytes, kind: int) -> str:
    try:
        told = EventKind(kind).name.lower()
    except ValueError:
        told = f"of kind {kind}"
    return f"event {ids.encode(ident.ljust(16, bytes(1)))} {told}"


def model_of(number: int) -> str:
    return MODELS[number] if 0 <= number < len(MODELS) else f"model {number}"
