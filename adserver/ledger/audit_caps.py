"""Law 2, audited from the journal: at no instant more exposures than a cap allows.

An exposure is outstanding from its decision to its impression, release or expiry, and confirmed from its
impression on. Only a new exposure (or an impression after its expiry, which nobody can prevent) raises
outstanding + confirmed in (t - per, t]; so the sum is formed anew at every exposure, for every cap in the
terms its line item had then. Caps on viewable impressions and clicks bound exposures by the events that
had come before.

A counter is a person (or session) and a key. An exposure counts under the keys in its terms, and for a
cap only if it was made since that cap, (key, per), was first in force: nobody counted before. Test
decisions are a universe of their own and skipped, so are people erased. Cost: the exposures of a counter
within its longest window, per exposure; what can count no more is taken off the list now and then, and put
back if its impression comes late. Memory: some 500 bytes for an exposure that a cap binds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from adserver.domain import ids
from adserver.domain.decision import Ad, Decision, EventKind, Slot, event_id
from adserver.domain.records import (
    CapTerms,
    Decided,
    LineItemTerms,
    Personal,
    Record,
    Recorded,
    Released,
    Status,
)

LIVE: Final = 0
_EVENTS: Final = {
    EventKind.IMPRESSION: "impression",
    EventKind.VIEWABLE: "viewable",
    EventKind.CLICK: "click",
}
_NEVER: Final = -1
_CLOCK_MS: Final = 86_400_000
"""How far a clock may go back without anything being overlooked."""
_THINNED: Final = 64
"""Exposures of a counter after which those that count no more are looked for."""

Counter = tuple[bytes, str, str]
"""(pseudonym of a person or session, key, event)."""


class Exposure(Struct, gc=False):
    """``number``: which record decided it. ``confirmed_ms``: -1 until the impression. ``listed``: under each
    of its counters."""

    number: int
    expires_ms: int
    counters: tuple[Counter, ...]
    confirmed_ms: int = _NEVER
    released: bool = False
    listed: bool = True

    def counts(self, now_ms: int, per_ms: int) -> bool:
        if self.confirmed_ms != _NEVER:
            return self.confirmed_ms > now_ms - per_ms
        return not self.released and self.expires_ms >= now_ms


class Happened(Struct, frozen=True):
    """A viewable impression or a click that counts."""

    number: int
    at_ms: int


class CapAudit:
    """Takes every record in order; tells each offence. ``exposures``: how many were judged; ``late``:
    impressions that came after their expiry."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.exposures = 0
        self.late = 0
        self._tell = tell
        self._number = 0
        self._terms: dict[int, LineItemTerms] = {}
        self._since: dict[tuple[str, str, int], int] = {}
        self._longest: dict[str, int] = {}
        self._exposures: dict[bytes, Exposure] = {}
        self._outstanding: defaultdict[Counter, list[Exposure]] = defaultdict(list)
        self._happened: defaultdict[Counter, list[Happened]] = defaultdict(list)

    def take(self, record: Record, personal: Personal | None) -> None:
        self._number += 1
        if isinstance(record, LineItemTerms):
            self._terms[record.serial] = record
            for cap in record.caps:
                self._since.setdefault((cap.key, cap.event, cap.per_ms), self._number)
                self._longest[cap.key] = max(cap.per_ms, self._longest.get(cap.key, 0))
        elif isinstance(record, Decided):
            if record.decision.mode == LIVE and personal is not None:
                self._decided(record.decision, personal)
        elif isinstance(record, Released):
            exposure = self._exposures.get(record.event_id)
            if exposure is not None and exposure.expires_ms >= record.at_ms:
                exposure.released = True
        elif isinstance(record, Recorded) and not record.test and record.status != Status.FILTERED:
            self._event(record)

    def _decided(self, decision: Decision, personal: Personal) -> None:
        for slot in decision.slots:
            if slot.repeated is None:
                for ad in slot.ads:
                    self._exposed(decision, slot, ad, personal)

    def _exposed(self, decision: Decision, slot: Slot, ad: Ad, personal: Personal) -> None:
        terms = self._terms.get(ad.line_item)
        ident = event_id(decision.request_id, ad.index)
        if terms is None:
            self._tell(f"event {ids.encode(ident)}: line item {ad.line_item} had no terms yet")
            return
        found = [(cap, counter) for cap, counter in _counters(terms, ad, personal)]
        for cap, counter in found:
            self._judge(ident, decision.now_ms, cap, counter)
        counters = tuple(dict.fromkeys(counter for _, counter in found))
        exposure = self._exposures[ident] = Exposure(self._number, slot.expires_ms, counters)
        for counter in counters:
            if counter[2] == "impression":
                self._outstanding[counter].append(exposure)
                if len(self._outstanding[counter]) % _THINNED == 0:
                    self._thin(counter, decision.now_ms)
        self.exposures += 1

    def _thin(self, counter: Counter, now_ms: int) -> None:
        """Take off the list what no cap of this counter counts any more, unless it comes late."""
        longest, kept = self._longest[counter[1]], []
        for exposure in self._outstanding[counter]:
            if exposure.counts(now_ms - _CLOCK_MS, longest):
                kept.append(exposure)
            else:
                exposure.listed = False
        self._outstanding[counter] = kept

    def _list_again(self, exposure: Exposure) -> None:
        exposure.listed = True
        for counter in exposure.counters:
            others = self._outstanding[counter]
            if counter[2] == "impression" and not any(other is exposure for other in others):
                others.append(exposure)

    def _judge(self, ident: bytes, now_ms: int, cap: CapTerms, counter: Counter) -> None:
        since = self._since[cap.key, cap.event, cap.per_ms]
        if cap.event == "impression":
            others = sum(
                exposure.number >= since and exposure.counts(now_ms, cap.per_ms)
                for exposure in self._outstanding[counter]
            )
        else:
            others = sum(
                event.number >= since and event.at_ms > now_ms - cap.per_ms
                for event in self._happened[counter]
            )
        if others >= cap.limit:
            self._tell(
                f"event {ids.encode(ident)}: the cap {cap.key} allows {cap.limit} ({cap.event}) in "
                f"{cap.per_ms} ms, and {others} counted already"
            )

    def _event(self, event: Recorded) -> None:
        exposure = self._exposures.get(event.event_id)
        name = _EVENTS.get(EventKind(event.kind))
        if exposure is None or name is None:
            return
        if name == "impression":
            self.late += exposure.released or event.at_ms > exposure.expires_ms
            exposure.confirmed_ms = event.at_ms
            if not exposure.listed:
                self._list_again(exposure)
        elif event.status == Status.ACCEPTED:
            terms = self._terms[event.line_item]
            current = {cap.key for cap in terms.caps if cap.event == name}
            for counter in exposure.counters:
                if counter[2] == name and counter[1] in current:
                    self._happened[counter].append(Happened(exposure.number, event.at_ms))


def _counters(terms: LineItemTerms, ad: Ad, personal: Personal) -> Iterator[tuple[CapTerms, Counter]]:
    """The caps that bind this exposure, each with where it is counted."""
    identity = dict(terms.creatives).get(ad.creative)
    for cap in terms.caps:
        session = cap.key.startswith("session:")
        who = personal.session if session else personal.subject
        key = cap.key.removeprefix("session:")
        other_creative = key.startswith("creative:") and key != f"creative:{identity}"
        if who is not None and not other_creative:
            yield cap, (who, cap.key, cap.event)
