"""Record events: verify, filter, de-duplicate, count, bill, and answer only what is durable.

The order of the checks is the contract's: invalid, filtered, duplicate, expired, accepted. The verdict is
reached and handed to the journal without awaiting, so of any number of simultaneous calls with one token
exactly one is accepted; all of them wait for the same ``fdatasync`` before they are answered, because
"duplicate" promises as much as "accepted": that the event is counted.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from adserver.clock import Clock
from adserver.domain import ids
from adserver.domain.books import JournalClosed
from adserver.domain.caps import Counted
from adserver.domain.changes import Unread
from adserver.domain.counted import BILLED, COUNTED, CPA, FLAT
from adserver.domain.decision import EventKind
from adserver.domain.invalid import Invalid
from adserver.domain.records import Personal, Recorded, Released, Status, Unbilled
from adserver.domain.verdicts import Verdict
from adserver.services.calls import Call
from adserver.services.elsewhere import nothing_is_elsewhere
from adserver.services.hot import CAPPED_EVENT, counts_of
from adserver.services.macros import MacroValues, expand
from adserver.services.moved import Exposed, Memory, Spending
from adserver.services.ports import Durable, Journal, Ledger
from adserver.services.refusals import Refused
from adserver.services.render import FindSold, gdpr_text
from adserver.services.screening import Screen
from adserver.services.slate import exposure_counts
from adserver.services.world import World
from adserver.tokens import FLAG_TEST, BadToken, Signer, Token

SEEN_EXTRA_MS: Final = 600_000
_KIND_BYTES: Final = {kind: bytes((kind,)) for kind in EventKind}
# By names of their own: to find a member on its enum is a call, of which an event would make a dozen.
_IMPRESSION: Final = EventKind.IMPRESSION
_CLICK: Final = EventKind.CLICK
_RELEASE: Final = EventKind.RELEASE
_ACCEPTED: Final = Status.ACCEPTED
_BILLS: Final = Unbilled.NONE
_OVER_BUDGET: Final = Unbilled.OVER_BUDGET
_TEST: Final = Unbilled.TEST
_FLAT: Final = Unbilled.FLAT


class EventRecorder:
    """The use case. ``screen`` tells invalid traffic, ``seen``: recorded events, ``filtered``: filtered ones
    already journalled,
    ``released``: event ids that were released or shown too late, of which nothing is billed any more;
    ``sold`` finds a creative version of any time; ``happened`` is told of accepted events,
    ``touched`` of their records; ``own``: whether this process decided an ad (None: it decided all);
    ``check`` raises Elsewhere before anything is, where something is."""

    def __init__(
        self, world: World, signer: Signer, screen: Screen, exposures: Exposed, budgets: Spending,
        journal: Journal, ledger: Ledger, seen: Memory, filtered: Memory, released: Memory, sold: FindSold,
        clock: Clock, chance: Callable[[], bytes], happened: Callable[[bytes, EventKind], None],
        touched: Callable[[Recorded, bytes | None], None],
        own: Callable[[bytes], bool] | None = None,
        check: Callable[[Token, EventKind], None] = nothing_is_elsewhere,
    ) -> None:  # fmt: skip
        self._world = world
        self._signer = signer
        self._screen = screen
        self._exposures = exposures
        self._budgets = budgets
        self._journal = journal
        self._ledger = ledger
        self._seen = seen
        self._filtered = filtered
        self._released = released
        self._sold = sold
        self._clock = clock
        self._chance = chance
        self._happened = happened
        self._touched = touched
        self._own = own
        self._check = check

    def tell(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict, Durable]:
        """The verdict, and what it is not to be told before. Raises BadToken; Refused (503) where there is no
        room, except for clicks, which redirect."""
        _, token = self._signer.open(token_text, kind)
        return self.tell_token(token, kind, call)

    def tell_token(self, token: Token, kind: EventKind, call: Call) -> tuple[Verdict, Durable]:
        """The same of a token that was opened, and is for this."""
        if kind is _RELEASE:
            return self._release(token)
        location = None
        try:
            location = self.location(token) if kind is _CLICK else None
            self._check(token, kind)
            status, billed = self._judge(token, kind, call)
            return Verdict(status, billed, location), self._journal.synced()
        except (JournalClosed, Unread) as error:
            if kind is _CLICK:
                return Verdict(Status.UNRECORDED, False, location), None
            why = "no room on disk" if isinstance(error, JournalClosed) else str(error)
            raise Refused(503, f"events cannot be kept: {why}") from None

    async def record(self, token_text: str, kind: EventKind, call: Call) -> Verdict:
        """The same, once it is durable."""
        verdict, durable = self.tell(token_text, kind, call)
        if durable is not None:
            # Others wait for the same sync: it is not to end with us.
            await asyncio.shield(durable)
        return verdict

    def peek(self, token_text: str, kind: EventKind, call: Call) -> tuple[Verdict, Durable]:
        """For HEAD: where it would lead; counts nothing and uses nothing up."""
        _, token = self._signer.open(token_text, kind)
        self._check(token, kind)
        location = self.location(token) if kind is _CLICK else None
        found = self._screen.judge(token, kind, call, self._clock(), counts=False)
        return Verdict(Status.UNRECORDED if found is None else Status.FILTERED, False, location), None

    def _release(self, token: Token) -> tuple[Verdict, Durable]:
        """Free what an ad holds; the same answer however often. Raises Refused (503)."""
        event_id = token.event_id
        if event_id not in self._released.keys and not self._is_rendered(token):
            now_ms = self._clock()
            if now_ms <= token.expires_ms:
                try:
                    self._journal.append(Released(event_id, now_ms, token.line_item))
                except JournalClosed:
                    raise Refused(503, "releases cannot be kept: no room on disk") from None
                until_ms = token.accepted_until_ms(_CLICK) + SEEN_EXTRA_MS
                self._released.add(event_id, until_ms)
                self._exposures.release(event_id)
                self._budgets.void(event_id)
        return Verdict(_ACCEPTED), self._journal.synced()

    def filtered(self, token: Token, kind: EventKind, now_ms: int, found: Invalid) -> tuple[Verdict, Durable]:
        """Of an event that was found invalid elsewhere, and is no duplicate. Raises JournalClosed."""
        key = token.event_id + _KIND_BYTES[kind]
        status = self._filter(token, kind, key, now_ms, token.accepted_until_ms(kind), found)
        return Verdict(status), self._journal.synced()

    # -- the verdict -------------------------------------------------------------------------------

    def _judge(self, token: Token, kind: EventKind, call: Call) -> tuple[Status, bool]:
        now_ms = self._clock()
        self._exposures.sweep(now_ms)  # what is over is told by the clock, not by when a tick ran (law 5)
        key = token.event_id + _KIND_BYTES[kind]
        until_ms = token.accepted_until_ms(kind)
        seen = key in self._seen.keys
        found = self._screen.judge(token, kind, call, now_ms, counts=not seen)
        if found is not None:
            return self._filter(token, kind, key, now_ms, until_ms, found), False
        if seen:
            return Status.DUPLICATE, False
        late = now_ms > until_ms
        foreign = self._own is not None and not self._own(token.event_id)
        if (late or foreign) and self._ledger.status(token.event_id, kind) not in (None, Status.FILTERED):
            return Status.DUPLICATE, False
        if late or token.event_id in self._released.keys:
            return self._expire(token, kind, key, now_ms, until_ms), False
        return self._accept(token, kind, key, now_ms, until_ms)

    def _filter(
        self, token: Token, kind: EventKind, key: bytes, now_ms: int, until_ms: int, found: Invalid
    ) -> Status:
        """Journalled once per (event id, kind), and not again: a crawler must not fill the disk. Without a
        live token it is not journalled at all, since nobody could remember that it was."""
        if key not in self._filtered.keys and now_ms <= until_ms:
            self._append(token, kind, Status.FILTERED, now_ms, 0, Unbilled.FILTERED, 0, found)
            self._filtered.add(key, until_ms + SEEN_EXTRA_MS)
            self._count(token, "filtered")
            if not token.flags & FLAG_TEST:
                self._screen.marked(token.line_item, token.placement, found)
        self._screen.called(found)
        return Status.FILTERED

    def _expire(self, token: Token, kind: EventKind, key: bytes, now_ms: int, until_ms: int) -> Status:
        """Too late, or released: counted against the cap, since it was seen, and not billed."""
        self._append(token, kind, Status.EXPIRED, now_ms, 0, Unbilled.EXPIRED, 0)
        self._seen.add(key, max(now_ms, until_ms) + SEEN_EXTRA_MS)
        if kind is _IMPRESSION:
            self._confirm(token, kind, now_ms)
            self._released.add(token.event_id, token.accepted_until_ms(_CLICK) + SEEN_EXTRA_MS)
        self._count(token, "expired")
        return Status.EXPIRED

    def _accept(
        self, token: Token, kind: EventKind, key: bytes, now_ms: int, until_ms: int
    ) -> tuple[Status, bool]:
        billable = BILLED[token.model] is kind
        decided_ms = token.decided_ms
        reason = self._unbilled(token, billable, decided_ms)
        billed = token.price_nanos if reason is _BILLS else 0
        free = token.price_nanos if reason is _OVER_BUDGET else 0
        self._touched(self._append(token, kind, _ACCEPTED, now_ms, billed, reason, free), token.subject)
        self._seen.add(key, until_ms + SEEN_EXTRA_MS)
        self._confirm(token, kind, now_ms)
        if billable and reason is not _TEST:
            self._budgets.post(token.event_id, token.line_item, billed, decided_ms)
        elif kind is _IMPRESSION:
            self._budgets.rendered(token.event_id)
        self._count(token, COUNTED.get(kind), free)
        self._happened(token.event_id, kind)
        return _ACCEPTED, billed > 0

    def _unbilled(self, token: Token, billable: bool, decided_ms: int) -> Unbilled:
        if token.flags & FLAG_TEST:
            return _TEST
        if not billable:
            return _FLAT if token.model == FLAT else Unbilled.NOT_BILLABLE
        if token.price_nanos == 0:
            return Unbilled.FREE
        affords = self._budgets.affords(token.event_id, token.line_item, token.price_nanos, decided_ms)
        return _BILLS if affords else _OVER_BUDGET

    def _append(
        self, token: Token, kind: EventKind, status: Status, now_ms: int, billed: int, reason: Unbilled,
        free: int, found: str = "",
    ) -> Recorded:  # fmt: skip
        test = bool(token.flags & FLAG_TEST)
        event = Recorded(
            event_id=token.event_id,
            kind=kind,
            status=status,
            at_ms=now_ms,
            line_item=token.line_item,
            creative=token.creative,
            placement=token.placement,
            billed_nanos=billed,
            unbilled=_TEST if test else reason,
            day=token.day,
            reason=found,
            free_nanos=free,
            test=test,
            country=token.country,
            device=token.device,
            conversion_nanos=token.price_nanos if token.model == CPA else 0,
        )
        self._journal.append(event, Personal(self._chance(), token.subject))
        return event

    # -- what moves with it ------------------------------------------------------------------------

    def _confirm(self, token: Token, kind: EventKind, now_ms: int) -> None:
        """Move the counters of frequency caps that look at this kind of event."""
        event = CAPPED_EVENT.get(kind)
        if event is None:
            return
        if kind is _IMPRESSION:
            # A known exposure is moved from where it was counted.
            counts = () if token.event_id in self._exposures.known else self._moved_by(token, event)
            self._exposures.confirm(token.event_id, token.subject, counts, now_ms)
        elif counts := self._moved_by(token, event):
            self._exposures.move(token.event_id, kind, token.subject, counts, now_ms)

    def _moved_by(self, token: Token, event: str) -> tuple[Counted, ...]:
        """Of a line item that is gone, as it was bound last: its siblings' move too, and it may come back."""
        found, sold = self._world.snapshot.by_serial.get(token.line_item), self._sold(token.creative)
        if found is None:
            terms = self._budgets.terms(token.line_item)
            identity = None if sold is None else sold.creative.identity
            return () if terms is None else counts_of(terms, identity, event)
        return () if sold is None else exposure_counts(found, sold.creative, event)

    def _count(self, token: Token, column: str | None, free_nanos: int = 0) -> None:
        known = self._budgets.totals(token.line_item)
        if known is None or token.flags & FLAG_TEST:
            return
        totals, _ = known
        totals.free_nanos += free_nanos
        if column is not None:
            setattr(totals, column, getattr(totals, column) + 1)

    def _is_rendered(self, token: Token) -> bool:
        return token.event_id + _KIND_BYTES[_IMPRESSION] in self._seen.keys

    def location(self, token: Token) -> str:
        """Where a click leads: the landing page as it was decided. Raises BadToken."""
        sold = self._sold(token.creative)
        view = self._world.snapshot.placements_by_serial.get(token.placement)
        if sold is None:
            raise BadToken("a creative nobody has")
        values = MacroValues(
            event_id=ids.encode(token.event_id),
            timestamp_ms=self._clock(),
            publisher=view.publisher.id if view else "",
            placement=view.placement.id if view else "",
            campaign=sold.campaign,
            line_item=sold.line_item.id,
            creative=sold.creative.id,
            gdpr=gdpr_text(token.flags),
        )
        return expand(sold.creative.landing_url, values)
