"""Exposures and their counters: law 2, exactly.

An exposure is *outstanding* from its decision until its impression or its expiry, and *confirmed* at the
instant the impression is received. For every person and cap

    outstanding + confirmed in (t - per, t] <= limit        at every instant t

Only a grant can raise the left side (a confirmation moves one from the first term to the second), so it
is enough to check on granting; the check and the grant happen without an await between them. An exposure
counts however old it is until ``expires_ms`` has passed. Caps on viewable impressions and clicks count
those events when they come, so they bound what is decided after.

A counter is a list: [outstanding, t1, t2, ...], times ascending; a limit is at most 255, so it stays
short. Cost of a check: one dictionary access and, on full counters, a look at the first times. Memory:
about 150 bytes a person and counter. Everything here is rebuilt from the journal.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adserver.domain import limits
from adserver.domain.calendar import Calendar
from adserver.domain.caps import BoundCap, Counted
from adserver.domain.records import LineItemTerms
from adserver.domain.told import Accepted
from adserver.state.capped import Bits, Catalogued, Remembered
from adserver.state.exposure import DUMPS, Dump, Exposure
from adserver.state.windows import Windows

_SWEEP_STEP = 500
_NONE: Final[dict[str, list[int]]] = {}


class Exposures:
    """All counters of all people, in memory. ``known``: exposures by event id, only to be looked into."""

    def __init__(self, windows: Windows | None = None) -> None:
        self._counters: dict[bytes, dict[str, list[int]]] = {}
        self.known: dict[bytes, Exposure] = {}
        self._keeps: dict[str, int] = {}
        self.windows = Windows() if windows is None else windows
        self._outstanding: dict[bytes | None, int] = {}
        self._ends = Calendar()
        self._idle: list[bytes] = []
        self._capped = Remembered(self.windows.of)

    def __len__(self) -> int:
        return len(self.known)

    def __contains__(self, event_id: bytes) -> bool:
        """Whether the exposure is known, and with it what its impression moves."""
        return event_id in self.known

    @property
    def people(self) -> int:
        return len(self._counters)

    def full(self, cap: BoundCap, subject: bytes | None, session: bytes | None, now_ms: int) -> bool:
        """Whether one more exposure would break the cap. Nobody to count is never full: whether an
        unknown person is served at all is the caller's rule."""
        who = session if cap.session else subject
        counters = self._counters.get(who) if who is not None else None
        counter = counters.get(cap.counter) if counters else None
        if counter is None or counter[0] + len(counter) - 1 < cap.limit:
            return False
        per_ms, after_ms = self.windows.of(cap)
        return counter[0] + _since(counter, max(now_ms - per_ms, after_ms)) >= cap.limit

    def promise(self, terms: LineItemTerms) -> None:
        """The journal has these terms now (``windows``)."""
        self.windows.promise(terms)

    def capped_out(
        self, subject: bytes | None, session: bytes | None, now_ms: int, catalogue: Catalogued
    ) -> Bits:
        """The line items with a cap that is full for this person or session; not to be changed. Expired
        exposures count until ``sweep`` has ended them."""
        counters = self._counters.get
        out = self._capped.bits(subject, counters(subject or b""), catalogue, now_ms)
        other = self._capped.bits(session, counters(session or b""), catalogue, now_ms)
        if not (out and other):
            return out or other
        return {chunk: out.get(chunk, 0) | other.get(chunk, 0) for chunk in out.keys() | other.keys()}

    def grant(self, event_id: bytes, exposure: Exposure) -> None:
        """Count an exposure as outstanding. The caller has checked every cap, without awaiting since."""
        self.known[event_id] = exposure
        self._ends.put(exposure.expires_ms, event_id)
        subject = exposure.subject
        if subject is not None:
            self._outstanding[subject] = self._outstanding.get(subject, 0) + 1
        for counted in exposure.counts:
            counter = self._counter(exposure.session if counted.session else exposure.subject, counted)
            if counter is not None:
                counter[0] += 1

    def take_up(self, who: bytes, counters: dict[str, list[int]]) -> None:
        """All counters of a person or session, as somebody else kept them."""
        self._counters[who] = counters

    def outstanding(self, subject: bytes | None) -> int:
        """How many exposures of a person are outstanding; 0 for nobody."""
        return self._outstanding.get(subject, 0) if subject is not None else 0

    def release(self, event_id: bytes) -> bool:
        """Take an outstanding exposure back; False if there is none (already rendered, expired, released)."""
        exposure = self.known.get(event_id)
        if exposure is None or not exposure.outstanding:
            return False
        self._settle(exposure)
        exposure.outstanding = False
        # Shown all the same it must be counted, also for the session, which its token does not name.
        if exposure.kept_ms <= exposure.expires_ms:
            del self.known[event_id]
        return True

    def take_back(self, event_id: bytes) -> None:
        """As if it had never been granted: nobody was told of it, so nothing can come of it."""
        if self.release(event_id):
            self.known.pop(event_id, None)

    def confirm(
        self, event_id: bytes, subject: bytes | None, counts: tuple[Counted, ...], at_ms: int
    ) -> None:
        """The impression came. After its expiry or release the exposure is not outstanding any more: it is
        counted all the same, from now on, under the subject its token names."""
        exposure = self.known.get(event_id)
        if exposure is None:
            self.count(subject, None, counts, at_ms)
        else:
            self._confirm(event_id, exposure, at_ms)

    def _confirm(self, event_id: bytes, exposure: Exposure, at_ms: int) -> None:
        outstanding, counts = exposure.outstanding, exposure.counts
        if counts:
            self.count(exposure.subject, exposure.session, counts, at_ms, outstanding)
        if outstanding:
            self._change_outstanding(exposure.subject, -1)
            exposure.outstanding = False
        if exposure.kept_ms <= exposure.expires_ms:
            del self.known[event_id]

    def shown(self, run: list[Accepted], at_ms: int) -> None:
        """``confirm`` each of a run of impressions whose exposures are known."""
        known, confirm = self.known, self._confirm
        for accepted in run:
            event_id = accepted[0][0]
            confirm(event_id, known[event_id], at_ms)

    def expose(
        self, event_id: bytes, subject: bytes | None, session: bytes | None, counts: tuple[Counted, ...],
        expires_ms: int, kept_ms: int,
    ) -> None:  # fmt: skip
        """``grant`` from plain parts, for the journal's records."""
        self.grant(event_id, Exposure(subject, session, counts, expires_ms, kept_ms))

    def move(
        self, event_id: bytes, kind: int, subject: bytes | None, counts: Sequence[Counted], at_ms: int
    ) -> None:
        """An event that caps look at and that ends no exposure, ``kind`` of ``EventKind``: it counts for the
        person its token names, and for the session the ad was admitted for."""
        self.count(subject, self.session_of(event_id), counts, at_ms)

    def session_of(self, event_id: bytes) -> bytes | None:
        """The session an ad was admitted for, as long as a cap may need it."""
        exposure = self.known.get(event_id)
        return exposure.session if exposure else None

    def count(
        self, subject: bytes | None, session: bytes | None, counts: Sequence[Counted], at_ms: int,
        ended: bool = False,
    ) -> None:  # fmt: skip
        """Count an event at ``at_ms``; ``ended``: the impression for which an exposure was outstanding."""
        for counted in counts:
            counter = self._counter(session if counted.session else subject, counted)
            if counter is None:
                continue
            if ended and counter[0] > 0:
                counter[0] -= 1
            if len(counter) > 1:
                # By the longest window the name ever had, as in ``forget``: one that shrank may grow again.
                over = len(counter) - 1 - _since(counter, at_ms - self._keeps[counted.counter])
                over = max(over, len(counter) - limits.CAP_LIMIT_MAX)
                if over > 0:
                    del counter[1 : 1 + over]
                if len(counter) > 1 and at_ms < counter[-1]:
                    at_ms = counter[-1]
            counter.append(at_ms)

    def sweep(self, now_ms: int) -> None:
        """End the exposures whose time is over."""
        for _, event_id in self._ends.over(now_ms):
            exposure = self.known.get(event_id)
            if exposure is None:
                continue
            if exposure.outstanding:
                self._settle(exposure)
                exposure.outstanding = False
            if exposure.kept_ms > now_ms:
                self._ends.put(exposure.kept_ms, event_id)
            else:
                del self.known[event_id]

    def _change_outstanding(self, subject: bytes | None, change: int) -> None:
        if subject is not None:
            now = self._outstanding.get(subject, 0) + change
            if now > 0:
                self._outstanding[subject] = now
            else:
                self._outstanding.pop(subject, None)

    def _settle(self, exposure: Exposure) -> None:
        self._change_outstanding(exposure.subject, -1)
        for counted in exposure.counts:
            who = exposure.session if counted.session else exposure.subject
            if who is None:
                continue
            counter = self._counters.get(who, _NONE).get(counted.counter)
            if counter is not None and counter[0] > 0:
                counter[0] -= 1
                self._capped.moved(who, counted.counter)

    def _counter(self, who: bytes | None, counted: Counted) -> list[int] | None:
        if who is None:
            return None
        counters = self._counters.get(who)
        if counters is None:
            counters = self._counters[who] = {}
        counter = counters.get(counted.counter)
        if counter is None:
            counter = counters[counted.counter] = [0]
        # Also of one that is there: a cap's window may have grown since it was made.
        if self._keeps.get(counted.counter, 0) < counted.keep_ms:
            self._keeps[counted.counter] = counted.keep_ms
        self._capped.moved(who, counted.counter)
        return counter

    def forget(self, now_ms: int) -> None:
        """Drop people of whom nothing counts any more: some are looked at each call, in turn. A counter
        counts for as long as the longest window ever set on its name."""
        self._capped.shed(_SWEEP_STEP)
        if not self._idle:
            self._idle = list(self._counters)
        for _ in range(min(_SWEEP_STEP, len(self._idle))):
            who = self._idle.pop()
            counters = self._counters.get(who)
            if counters is None:
                continue
            for name in [name for name, counter in counters.items() if self._is_over(name, counter, now_ms)]:
                del counters[name]
            if not counters:
                del self._counters[who]
                self._capped.forget(who)

    def _is_over(self, name: str, counter: list[int], now_ms: int) -> bool:
        if counter[0]:
            return False
        keep_ms = max(self._keeps.get(name, limits.CAP_PER_MS_MAX), self.windows.keep_ms(name))
        return len(counter) == 1 or counter[-1] <= now_ms - keep_ms

    def dump(self) -> bytes:
        """Everything, for a checkpoint."""
        return msgspec.msgpack.encode(self._dumped())

    def _dumped(self) -> Dump:
        return Dump(self._counters, self.known, self._keeps, self.windows.promised)

    def load(self, dumped: bytes) -> None:
        self._load(DUMPS.decode(dumped))

    def _load(self, found: Dump) -> None:
        self._counters, self.known, self._keeps = found.counters, found.known, found.keeps
        self.windows.promised = found.promised
        self._capped.clear()
        self._ends = Calendar((exposure.expires_ms, ident) for ident, exposure in self.known.items())
        self._outstanding.clear()
        for exposure in self.known.values():
            if exposure.outstanding:
                self._change_outstanding(exposure.subject, 1)


def _since(counter: list[Any], after_ms: int) -> int:
    """How many confirmed times lie behind ``after_ms``: the window is half-open, (t - per, t]."""
    for index in range(1, len(counter)):
        if counter[index] > after_ms:
            return len(counter) - index
    return 0
