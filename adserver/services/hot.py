"""The hot state as a whole, and how it comes back after a restart: by reading the journal again.

Every record is applied in the order it was written, at the time it carries; what has run out by then is
swept as it was the first time. Money is not moved here: what was billed is in the ledger, only holds are
state. A checkpoint (the state at a position) spares reading from the beginning; it is a cache, and a
missing or unreadable one costs time, nothing else.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from adserver.domain import ids, limits
from adserver.domain.books import Position
from adserver.domain.campaign import MODELS
from adserver.domain.caps import IMPRESSION, Counted
from adserver.domain.conversions import Converted
from adserver.domain.decision import Ad, Decision, EventKind, NoFill, Slot, event_id
from adserver.domain.fees import Accrued
from adserver.domain.planned import Planned
from adserver.domain.records import (
    CapTerms,
    Decided,
    LineItemTerms,
    Personal,
    Record,
    Recorded,
    Released,
    Reversed,
    Status,
    Tallied,
    Unbilled,
)
from adserver.domain.told import Accepted
from adserver.engine.live import follow
from adserver.services.allotment import follow as follow_plan
from adserver.services.delivered import Delivered
from adserver.services.fees import Fees
from adserver.services.parts import Counting, Exposed, Held, Memory, Paged, Touching
from adserver.services.render import origin_of
from adserver.services.repeats import Repeat, Repeats
from adserver.services.tally import Tally

CHECKPOINT_VERSION: Final = 3
_LONGEST_TOKEN_MS: Final = limits.RENDER_WITHIN_MS_MAX + limits.CLICK_EXTRA_MS
CAPPED_EVENT: Final = {
    EventKind.IMPRESSION: IMPRESSION,
    EventKind.VIEWABLE: "viewable",
    EventKind.CLICK: "click",
}
"""What frequency caps look at."""
_CPM: Final = MODELS.index("cpm")
_OF_NO_PRICE: Final = (Unbilled.NOT_BILLABLE, Unbilled.FLAT)
_NOBODY: Final = Personal(b"")


class Checkpoint(Struct, array_like=True):
    version: int
    position: Position
    terms: list[LineItemTerms]
    exposures: bytes
    holds: bytes
    feeds: bytes
    seen: bytes
    filtered: bytes
    released: bytes
    repeats: list[tuple[bytes, Repeat]]
    identities: dict[int, int] = {}
    left_out: dict[int, NoFill] = {}
    delivered: Delivered | None = None
    traffic: bytes = b""
    tally: bytes = b""
    allotment: dict[int, int] = {}
    touches: bytes = b""
    fees: bytes = b""
    multipliers: dict[int, int] = {}


class HotState:
    """Everything that decisions and events change in memory. ``terms``: those in the journal, in the order
    they were last told (``promises`` keeps them); ``identities``: of versions of creatives,
    also of those that were replaced since; ``left_out``: positions (of its snapshot) that the last decision
    left out beforehand; ``allotment`` and ``multipliers``: the plan in force; ``delivered``: what a
    checkpoint told of it."""

    def __init__(
        self, exposures: Exposed, budgets: Held, feeds: Paged, repeats: Repeats,
        seen: Memory, filtered: Memory, released: Memory, traffic: Counting, touches: Touching,
    ) -> None:  # fmt: skip
        self.exposures = exposures
        self.budgets = budgets
        self.feeds = feeds
        self.repeats = repeats
        self.seen = seen
        self.filtered = filtered
        self.released = released
        self.traffic = traffic
        self.tally = Tally()
        self.touches = touches
        self.fees = Fees(budgets, lambda line_item: self.terms.get(line_item))
        self.terms: dict[int, LineItemTerms] = {}
        self.identities: dict[int, int] = {}
        self.left_out: dict[int, NoFill] = {}
        self.allotment: dict[int, int] = {}
        self.multipliers: dict[int, int] = {}
        self.delivered: Delivered | None = None
        self.latest_ms = 0

    # -- reading the journal again -----------------------------------------------------------------

    def apply(self, record: Record, personal: Personal | None) -> None:
        """One record of the journal, in order."""
        who = personal or _NOBODY
        if isinstance(record, Decided):
            self._decided(record, who)
        elif isinstance(record, Recorded):
            self._recorded(record, who)
        elif isinstance(record, Released):
            self._released(record)
        elif isinstance(record, Tallied):
            self.tally.told(record)
        elif isinstance(record, Planned):
            follow_plan(self.allotment, record.weights)
            follow_plan(self.multipliers, record.multipliers)
        elif isinstance(record, Converted):
            self._converted(record)
        elif isinstance(record, Reversed):
            self.taken_back(record)
        elif isinstance(record, Accrued):
            self.fees.accrued(record)
        elif isinstance(record, LineItemTerms):
            self.terms.pop(record.serial, None)
            self.terms[record.serial] = record
            self.identities.update(record.creatives)
            self.budgets.know([record])
            self.exposures.promise(record)

    def touched(self, event: Recorded, subject: bytes | None) -> None:
        """An event that conversions may be owed to, or a fee, just journalled."""
        self.touches.recorded(event, subject, self.terms.get(event.line_item))
        self.fees.recorded(event)

    def taken_back(self, found: Reversed) -> None:
        """An event found invalid: nothing is owed to it any more."""
        self.touches.taken_back(found)
        self.fees.taken_back(found)

    def viewed(self, run: list[Accepted], at_ms: int) -> None:
        """The same of impressions told in a row."""
        self.touches.viewed(run, at_ms, self.terms)

    def hint(self, record: Decided) -> None:
        """What the decision left out beforehand."""
        follow(self.left_out, record.hints)

    def sweep(self, now_ms: int) -> None:
        """Forget what has run out. ``seen`` is swept apart: not while the ledger is behind."""
        self.exposures.sweep(now_ms)
        self.exposures.forget(now_ms)
        self.budgets.sweep(now_ms)
        self.feeds.sweep(now_ms)
        self.filtered.sweep(now_ms)
        self.released.sweep(now_ms)
        self.touches.sweep(now_ms)
        self.fees.sweep(now_ms)

    def _decided(self, record: Decided, who: Personal) -> None:
        decision = record.decision
        self.latest_ms = decision.now_ms
        self.hint(record)
        self.tally.count(decision)
        if decision.mode == 0:
            self.traffic.count(decision.now_ms, len(decision.slots))
        self.exposures.sweep(decision.now_ms)
        self.budgets.sweep(decision.now_ms)
        for slot in decision.slots:
            if slot.repeated is None:
                for ad in slot.ads:
                    self._expose(decision, slot, ad, who)
        if decision.mode == 0:
            self.fees.decided(decision)
        self.feeds.restore(record, origin_of, who.subject or who.session)
        if record.repeat_key is not None:
            self.repeats.keep(record.repeat_key, Repeat(decision, who.subject))

    def _expose(self, decision: Decision, slot: Slot, ad: Ad, who: Personal) -> None:
        ident = event_id(decision.request_id, ad.index)
        terms = self.terms.get(ad.line_item)
        counts = counts_of(terms, self.identities.get(ad.creative), IMPRESSION) if terms else ()
        late = terms is not None and any(cap.key.startswith("session:") for cap in terms.caps)
        kept_ms = slot.expires_ms + (limits.CLICK_EXTRA_MS if late else 0)
        self.exposures.expose(ident, who.subject, who.session, counts, slot.expires_ms, kept_ms)
        if decision.mode == 0:
            self.budgets.restore(
                ident, ad.line_item, ad.hold_nanos, decision.now_ms, slot.expires_ms, ad.model == _CPM
            )

    def _recorded(self, record: Recorded, who: Personal) -> None:
        kind = EventKind(record.kind)
        key = record.event_id + bytes((record.kind,))
        until_ms = max(record.at_ms, ids.minted_ms(record.event_id) + _LONGEST_TOKEN_MS) + 600_000
        if record.status == Status.FILTERED:
            self.filtered.add(key, until_ms)
            return
        self.seen.add(key, until_ms)
        self.touched(record, who.subject)
        self.exposures.sweep(record.at_ms)
        terms = self.terms.get(record.line_item)
        event = CAPPED_EVENT.get(kind)
        if terms is None or event is None:
            return
        counts = counts_of(terms, self.identities.get(record.creative), event)
        if kind is EventKind.IMPRESSION:
            self.exposures.confirm(record.event_id, who.subject, counts, record.at_ms)
            if record.status == Status.EXPIRED:
                self.released.add(record.event_id, until_ms)
        elif record.status == Status.ACCEPTED:
            self.exposures.move(record.event_id, record.kind, who.subject, counts, record.at_ms)
        # What was sold is the decision's to say, and not today's terms'.
        if record.status == Status.ACCEPTED and record.unbilled not in _OF_NO_PRICE:
            self.budgets.void(record.event_id)
        elif record.status == Status.ACCEPTED and kind is EventKind.IMPRESSION:
            self.budgets.rendered(record.event_id)

    def _converted(self, record: Converted) -> None:
        self.seen.add(record.key + bytes((EventKind.CONVERSION,)), record.at_ms + 600_000)
        self.touches.converted(record)
        if record.touch is not None and record.unbilled != Unbilled.NOT_BILLABLE:
            self.budgets.void(record.touch)

    def _released(self, record: Released) -> None:
        self.released.add(record.event_id, ids.minted_ms(record.event_id) + _LONGEST_TOKEN_MS + 600_000)
        self.exposures.release(record.event_id)
        self.budgets.void(record.event_id)

    # -- checkpoints -------------------------------------------------------------------------------

    def dump(self, position: Position, delivered: Delivered | None = None) -> bytes:
        return msgspec.msgpack.encode(
            Checkpoint(
                CHECKPOINT_VERSION, position, list(self.terms.values()), self.exposures.dump(),
                self.budgets.dump(), self.feeds.dump(), self.seen.dump(), self.filtered.dump(),
                self.released.dump(),
                self.repeats.dump(), self.identities, self.left_out, delivered, self.traffic.dump(),
                self.tally.dump(),
                self.allotment,
                self.touches.dump(),
                self.fees.dump(),
                self.multipliers,
            )
        )  # fmt: skip

    def load(self, dumped: bytes) -> Position:
        """Take a checkpoint up; the journal goes on from the position returned. Raises ValueError."""
        checkpoint = msgspec.msgpack.decode(dumped, type=Checkpoint)
        if checkpoint.version != CHECKPOINT_VERSION:
            raise ValueError(f"a checkpoint of version {checkpoint.version}")
        self.terms = {terms.serial: terms for terms in checkpoint.terms}
        self.identities = checkpoint.identities
        self.left_out, self.delivered = checkpoint.left_out, checkpoint.delivered
        self.allotment, self.multipliers = checkpoint.allotment, checkpoint.multipliers
        self.budgets.know(checkpoint.terms)
        parts: tuple[tuple[Any, bytes], ...] = (
            (self.exposures, checkpoint.exposures), (self.feeds, checkpoint.feeds),
            (self.seen, checkpoint.seen), (self.filtered, checkpoint.filtered),
            (self.released, checkpoint.released), (self.traffic, checkpoint.traffic),
            (self.touches, checkpoint.touches),
        )  # fmt: skip
        for part, content in parts:
            part.load(content)
        self.tally.load(checkpoint.tally)
        self.fees.load(checkpoint.fees)
        self.budgets.load_holds(checkpoint.holds)
        for key, repeat in checkpoint.repeats:
            self.repeats.keep(key, repeat)
        return checkpoint.position


def counts_of(terms: LineItemTerms, identity: int | None, event: str) -> tuple[Counted, ...]:
    """The counters an event of this ad moves, from the journalled terms; ``identity``: the creative's."""
    keep: dict[str, int] = {}
    for cap in terms.caps:
        key = _key(cap, identity)
        if cap.event == event and key is not None:
            counter = key if event == IMPRESSION else f"{key}/{event}"
            keep[counter] = max(keep.get(counter, 0), cap.per_ms)
    return tuple(Counted(name, ms, name.startswith("session:")) for name, ms in keep.items())


def _key(cap: CapTerms, identity: int | None) -> str | None:
    """What a cap counts this creative under. Caps of scope creative are told for each creative that stands in
    the line item; they bind those that stood there before alike, which may come back."""
    scope, creative, _ = cap.key.partition("creative:")
    if not creative:
        return cap.key
    return None if identity is None else f"{scope}creative:{identity}"
