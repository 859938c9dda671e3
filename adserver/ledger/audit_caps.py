"""Law 2, audited from the journal: at no instant more exposures than a cap allows.

An exposure is outstanding from its decision to its impression, release or expiry, and confirmed from its
impression on. Only a new exposure (or an impression after its expiry, which nobody can prevent) raises
outstanding + confirmed in (t - per, t]; so the sum is formed anew at every exposure, for every cap in the
terms its line item had then. Caps on viewable impressions and clicks bound exposures by the events that
had come before.

A counter is a person (or session) and a key. An exposure counts under the keys in its terms, and for a
cap only if it was made since that cap, (key, per), was first in force: nobody counted before. Test
decisions are a universe of their own and skipped, so are people erased. Cost: the exposures of a counter
within the window, per exposure.
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

Counter = tuple[bytes, str, str]
"""(pseudonym of a person or session, key, event)."""


class Exposure(Struct):
    """``number``: which record decided it. ``confirmed_ms``: -1 until the impression."""

    event_id: bytes
    number: int
    expires_ms: int
    counters: tuple[Counter, ...]
    confirmed_ms: int = _NEVER
    released: bool = False

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
        self._exposures: dict[bytes, Exposure] = {}
        self._outstanding: defaultdict[Counter, list[Exposure]] = defaultdict(list)
        self._happened: defaultdict[Counter, list[Happened]] = defaultdict(list)

    def take(self, record: Record, personal: Personal | None) -> None:
        self._number += 1
        if isinstance(record, LineItemTerms):
            self._terms[record.serial] = record
            for cap in record.caps:
                self._since.setdefault((cap.key, cap.event, cap.per_ms), self._number)
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
        exposure = Exposure(ident, self._number, slot.expires_ms, counters)
        self._exposures[ident] = exposure
        for counter in counters:
            if counter[2] == "impression":
                self._outstanding[counter].append(exposure)
        self.exposures += 1

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
