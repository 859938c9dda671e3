"""Why a campaign or a placement does or does not deliver, in counts by reason over sampled decisions.

Counts are made when somebody asks, one after the other, in short turns of the event loop. They are bounded:
where there are more line items times samples than ``limits.DIAGNOSED``, the sample is thinned further, by
the same seeds. The change that would help most is the counterfactual found most often over some of a line
item's losses, each proved by rehearsing the sampled request as the server is now, for a person nobody knows;
of a placement, that which would have filled most of some requests that it did not fill (``openings``).
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from adserver.domain import limits
from adserver.engine.snapshot import Entry, View
from adserver.services import funnel
from adserver.services.ask import Asker
from adserver.services.counterfactual import Counterfactuals
from adserver.services.ending import Endings
from adserver.services.funnel import Asked, Funnel
from adserver.services.kept import Kept
from adserver.services.manage import Who, absent, visible
from adserver.services.marked import Marked
from adserver.services.openings import Openings
from adserver.services.rehearsal import Rehearsal, Rehearse
from adserver.services.samples import Hour, Sample, Samples, Seen, decoded
from adserver.services.slate import Winner
from adserver.services.teller import Teller
from adserver.services.world import Serving, World

T = TypeVar("T")

_TURN: Final = 5
"""Samples looked at in one turn of the loop: about half a millisecond."""
_CAPPED: Final = {"change": "frequency_caps"}


class Diagnosis:
    """The use case."""

    def __init__(self, world: World, kept: Kept, samples: Samples, marked: Marked) -> None:
        self._world = world
        self._kept = kept
        self._samples = samples
        self._marked = marked
        self._asking = asyncio.Lock()

    async def campaign(self, who: Who, path: tuple[str, ...], hours: int) -> dict[str, Any]:
        """Of each line item. ``path``: advertiser, campaign. Raises Refused."""
        full_id = visible(who, "advertiser", path)
        serving = self._world.serving
        campaign = serving.snapshot.campaigns.get(full_id)
        if campaign is None:
            absent()
        items = campaign.line_items[: limits.EXPLAINED_LINE_ITEMS]
        view = _Look(serving, self._samples.hours(hours), len(items))
        async with self._asking:
            told = [
                await self._line_item(serving.snapshot.by_serial[item.serial], view, _teller(who), hours)
                for item in items
            ]
        return {"campaign": full_id, **self._of(view, hours), "line_items": told}

    async def placement(self, who: Who, path: tuple[str, ...], hours: int) -> dict[str, Any]:
        """In ads asked for and not given. ``path``: publisher, placement. Raises Refused."""
        full_id = visible(who, "publisher", path)
        serving = self._world.serving
        publisher, placement = path
        found = serving.snapshot.view(publisher, placement)
        if found is None:
            absent()
        view, count, requests = _Look(serving, self._samples.hours(hours), 1), Funnel(), 0
        lost = list[tuple[Sample, Seen]]()
        for number, (hour, sample, weight) in enumerate(view.samples()):
            asked = [seen for seen in sample.seen if seen.placement == found.placement.serial]
            requests += weight * bool(asked)
            for seen in asked:
                for event_id in seen.won.values():
                    count.win(hour.won.get(event_id, 0), weight)
                count.lose((seen.no_fill or "no_match", "unfilled"), weight * (seen.wanted - len(seen.won)))
                if len(seen.won) < seen.wanted:
                    lost.append((sample, seen))
            if number % _TURN == 0:
                await asyncio.sleep(0)
        filtered = self._marked.of("placement", found.placement.serial, hours)
        change = await self._opening(found, lost, serving, who)
        told = {"requests": requests, **count.told(), "filtered": filtered, "change": change}
        return {"placement": full_id, **self._of(view, hours), **told}

    async def _opening(
        self, found: View, lost: list[tuple[Sample, Seen]], serving: Serving, who: Who
    ) -> dict[str, Any] | None:
        """What of the placement would have let it be filled most often; None where nothing of it would."""
        openings = Openings(found)
        for sample, seen in _some(lost):
            for _ in openings.try_all(Rehearse(sample.request, serving, self._kept), seen.number):
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        return openings.best(who.read_prices or who.role == "operator")

    def _of(self, view: "_Look", hours: int) -> dict[str, Any]:
        return {"hours": hours, "since_ms": self._samples.since_ms, **view.told()}

    async def _line_item(self, entry: Entry, view: "_Look", teller: Teller, hours: int) -> dict[str, Any]:
        count, serial, lost = Funnel(), entry.line_item.serial, list[tuple[Asked, funnel.Loss]]()
        for number, (hour, sample, weight) in enumerate(view.samples()):
            for seen in sample.seen:
                asked = funnel.asked(sample, seen, view.serving)
                why = funnel.loss(entry, asked) if asked is not None else None
                if why is not None and asked is not None:
                    count.lose(why, weight)
                    lost.append((asked, why))
                elif asked is not None:
                    count.win(hour.won.get(seen.won[serial], 0), weight)
            if number % _TURN == 0:
                await asyncio.sleep(0)
        change = await self._change(entry, lost, view.serving, teller)
        told = {**count.told(), "filtered": self._marked.of("line_item", serial, hours), "change": change}
        return {"line_item": entry.line_item.full_id, **told}

    async def _change(
        self, entry: Entry, lost: list[tuple[Asked, funnel.Loss]], serving: Serving, teller: Teller
    ) -> dict[str, Any] | None:
        """The change found most often, and for how many of those tried; None where no single one helps."""
        tried = _some(lost)
        found: Counter[bytes] = Counter()
        for asked, why in tried:
            told = (
                _CAPPED
                if why[0] == "frequency_capped"
                else self._counterfactual(entry, asked, serving, teller)
            )
            if told is not None and told["change"] is not None:
                found[msgspec.json.encode(told)] += 1
            await asyncio.sleep(0)
        if not found:
            return None
        best, times = found.most_common(1)[0]
        return {**msgspec.json.decode(best), "helps": times, "tried": len(tried)}

    def _counterfactual(
        self, entry: Entry, asked: Asked, serving: Serving, teller: Teller
    ) -> dict[str, Any] | None:
        rehearse = Rehearse(asked.sample.request, serving, self._kept)
        counterfactuals, number = Counterfactuals(rehearse, teller), asked.seen.number

        def told(rehearsal: Rehearsal) -> dict[str, Any] | None:
            slate = rehearsal.slates[number]
            if slate is None:
                return None
            endings = Endings(slate, rehearsal.kept)
            ended = endings.of(entry)
            return None if isinstance(ended, Winner) else counterfactuals.of(number, entry, ended, endings)

        return rehearse(told)


class _Look:
    """The samples of some hours, thinned so that asking so many line items about them is bounded."""

    def __init__(self, serving: Serving, hours: list[Hour], line_items: int) -> None:
        self.serving = serving
        self._hours = hours
        self._thinned = 0
        while self.number() * line_items > limits.DIAGNOSED:
            self._thinned += 1

    def number(self) -> int:
        return sum(len(hour.samples) >> max(self._thinned - hour.shift, 0) for hour in self._hours)

    def samples(self) -> Iterator[tuple[Hour, Sample, int]]:
        """(hour, sample, how many requests it stands for)."""
        for hour in self._hours:
            shift = max(hour.shift, self._thinned)
            for sample in decoded(hour, shift):
                yield hour, sample, 1 << shift

    def told(self) -> dict[str, Any]:
        """``rate``: one request in so many was looked at, in the hour of the lowest."""
        rates = [1 << max(hour.shift, self._thinned) for hour in self._hours]
        return {"sampled_requests": self.number(), "rate": max(rates, default=1)}


def _some(lost: list[T]) -> list[T]:
    """As many as changes are tried on."""
    step = max(len(lost) // limits.DIAGNOSED_CHANGES, 1)
    return lost[::step][: limits.DIAGNOSED_CHANGES]


def _teller(who: Who) -> Teller:
    return Teller(Asker(role=who.role, owner=who.owner, read_prices=who.read_prices))
