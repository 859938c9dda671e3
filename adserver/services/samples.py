"""A seeded sample of what was decided, kept for some days of diagnosis.

A request's seed is 64 bits of chance, so those below a threshold are a fair sample that nobody chooses;
when an hour has more than its share, its threshold is halved and what is above goes. So an hour's rate is a
power of two, the sample is bounded whatever the traffic, and a request that is not sampled costs one
comparison. What is kept of a request is what its rules look at: no person, no session, no id; it is
forgotten with its hour, and with the process.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec
from msgspec import Struct

from adserver.domain import limits
from adserver.domain.decision import EventKind
from adserver.domain.request import FeedAsk, Request
from adserver.domain.told import Accepted
from adserver.engine.postings import positions
from adserver.services.ending import EVERYBODY
from adserver.services.serve import Outcome
from adserver.services.slate import PlacementSlate
from adserver.services.world import Serving

SEEDS: Final = 1 << 64
HOUR_MS: Final = 3600_000
_LEAST_RENDERED: Final = 0.1
_SOMEBODY: Final = b"somebody"
_RENDERED: Final = {EventKind.IMPRESSION: 1, EventKind.VIEWABLE: 2}


class Seen(Struct, frozen=True, array_like=True):
    """One placement: how many ads it wanted, who ``won`` (line item serial -> event id), who was ``lost``
    to which reason and rule, what stopped it for ``everybody``, and the tier and score of the last winner
    while all places were taken."""

    number: int
    placement: int
    wanted: int
    no_fill: str | None
    won: dict[int, bytes]
    lost: dict[int, tuple[str, str]]
    everybody: tuple[str, str] | None
    last: tuple[int, int] | None


class Sample(Struct, frozen=True, array_like=True):
    """Serials of line items that were left out before the walk: ``spared`` for a goal, budget or plan used
    up, ``capped`` because the person had seen them often enough."""

    request: Request
    seen: tuple[Seen, ...]
    spared: dict[int, str]
    capped: tuple[int, ...]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Sample)


class Hour:
    """The samples of one hour, by seed; each stands for ``1 << shift`` requests."""

    def __init__(self, shift: int) -> None:
        self.shift = shift
        self.samples: dict[int, bytes] = {}
        self.won: dict[bytes, int] = {}

    def add(self, seed: int, sample: Sample) -> None:
        try:
            self.samples[seed] = _ENCODER.encode(sample)
        except OverflowError:
            # A property may be any JSON, also a number of a hundred digits: this request is no sample.
            return
        self.won.update((event_id, 0) for seen in sample.seen for event_id in seen.won.values())
        while len(self.samples) > limits.SAMPLES_PER_HOUR:
            self.shift += 1
            self.samples = {s: kept for s, kept in self.samples.items() if s < SEEDS >> self.shift}


class Samples:
    """``clock``: what hours are told by. Begins anew with the process."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._hours: dict[int, Hour] = {}
        self._below = SEEDS
        self.since_ms = clock()

    def take(self, outcome: Outcome) -> None:
        """Of every decision; most are not kept."""
        if outcome.request.seed < self._below:
            self._keep(outcome)

    def event(self, event_id: bytes, kind: EventKind) -> None:
        """An accepted event, of any ad."""
        hour = self._hours.get(int.from_bytes(event_id[:6], "big") // HOUR_MS)
        if hour is not None and event_id in hour.won:
            hour.won[event_id] |= _RENDERED.get(kind, 0)

    def shown(self, run: list[Accepted]) -> None:
        """The same of accepted impressions. An event id begins with its decision's time."""
        hours, rendered = self._hours, _RENDERED[EventKind.IMPRESSION]
        for told, _, _, _, _ in run:
            hour = hours.get(told[2] // HOUR_MS)
            if hour is not None and told[0] in hour.won:
                hour.won[told[0]] |= rendered

    def hours(self, number: int) -> list[Hour]:
        """Those of the last ``number`` hours, the one that is running included."""
        last = self._clock() // HOUR_MS
        return [self._hours[at] for at in range(last - number, last + 1) if at in self._hours]

    def rendered(self) -> float:
        """The share of sampled ads of the last day that came to be shown; 1 where few are known."""
        won = [shown for hour in self.hours(24) for shown in hour.won.values()]
        if len(won) < limits.SUPPLY_LEAST:
            return 1.0
        return max(sum(shown & 1 for shown in won) / len(won), _LEAST_RENDERED)

    def _keep(self, outcome: Outcome) -> None:
        request = outcome.request
        if not outcome.slates or request.mode != "live" or request.invalid_traffic:
            return
        at = outcome.request.now_ms // HOUR_MS
        hour = self._hours.get(at)
        if hour is None:
            hour = self._begin(at)
        decided = [(number, slate) for number, slate in enumerate(outcome.slates) if slate is not None]
        serving = outcome.serving
        sample = Sample(
            _impersonal(outcome.request),
            tuple(_seen(number, slate, outcome) for number, slate in decided),
            _spared(serving),
            _serials(serving, positions(decided[0][1].left_out) if decided else ()),
        )
        hour.add(outcome.request.seed, sample)
        self._below = SEEDS >> hour.shift

    def _begin(self, at: int) -> Hour:
        """An hour begins with twice the last one's rate: traffic may have gone."""
        before = self._hours.get(at - 1)
        hour = self._hours[at] = Hour(max(before.shift - 1, 0) if before is not None else 0)
        for old in [old for old in self._hours if old < at - limits.DIAGNOSIS_HOURS]:
            del self._hours[old]
        self._below = SEEDS
        return hour


def decoded(hour: Hour, shift: int) -> Iterator[Sample]:
    """The hour's samples so far, at a rate of at most one of ``1 << shift``."""
    below = SEEDS >> shift
    return (_DECODER.decode(kept) for seed, kept in list(hour.samples.items()) if seed < below)


def _seen(number: int, slate: PlacementSlate, outcome: Outcome) -> Seen:
    serials = outcome.serving.snapshot.entries.serials
    slot = outcome.decision.slots[number]
    winners = slate.winners if slot.ads else []
    won = {winner.entry.line_item.serial: winner.event_id for winner in winners}
    lost = {
        serials[position]: (drop.reason.value, drop.rule.partition(" ")[0])
        for position, drop in list(slate.drops.items())[: limits.SAMPLED_DROPS]
        if position >= 0
    }
    ended = slate.drops.get(EVERYBODY)
    everybody = None if ended is None else (ended.reason.value, ended.rule)
    ranked = sorted((w.entry.tier, -slate.context.score(w.entry)) for w in winners)
    last = ranked[-1] if ranked and not slot.unfilled else None
    wanted = len(slot.ads) + slot.unfilled
    return Seen(number, slot.placement, wanted, slot.no_fill, won, lost, everybody, last)


def _spared(serving: Serving) -> dict[int, str]:
    serials, cleared = serving.snapshot.entries.serials, serving.live.cleared.items()
    return {serials[position]: reason.value for position, reason in islice(cleared, limits.SAMPLED_DROPS)}


def _serials(serving: Serving, which: Iterable[int]) -> tuple[int, ...]:
    serials = serving.snapshot.entries.serials
    return tuple(serials[position] for position in islice(which, limits.SAMPLED_DROPS))


def _impersonal(request: Request) -> Request:
    """Without whom it is about (only that it is about somebody), and what only an answer needs."""
    placements = tuple(
        msgspec.structs.replace(ask, accepts=None, feed=ask.feed and _any_account(ask.feed))
        for ask in request.placements
    )
    return msgspec.structs.replace(
        request,
        request_id=b"",
        subject=request.subject and _SOMEBODY,
        session=request.session and _SOMEBODY,
        repeat_key=None,
        placements=placements,
    )


def _any_account(feed: FeedAsk) -> FeedAsk:
    """The first page of an account nobody has."""
    return msgspec.structs.replace(feed, page=0, account=_SOMEBODY, receipt=None)
