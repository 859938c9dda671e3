"""The snapshot in service and its ``live`` bits: swapped together by one assignment. What was learned of
rates is swapped by itself, more often."""

from collections.abc import Iterator
from typing import Final

from adserver.domain import limits
from adserver.domain.catalogue import Catalogue
from adserver.engine.compile import compile_snapshot
from adserver.engine.kept import Kept
from adserver.engine.live import Live
from adserver.engine.rates import Rates
from adserver.engine.snapshot import Snapshot, View
from adserver.engine.worth import Worth
from adserver.services.allotment import follow
from adserver.services.templates import Template

_NOTHING_LEARNED: Final = Rates()


class Serving:
    """One snapshot with what moves beside it. ``templates``: what was encoded of its creatives, by the
    serial of the version."""

    def __init__(self, snapshot: Snapshot, rates: Rates = _NOTHING_LEARNED) -> None:
        self.snapshot = snapshot
        self.worth = Worth(snapshot.entries, rates)
        self.live = Live(len(snapshot.entries))
        self.templates = Kept[int, Template](limits.TEMPLATES_KEPT)
        self._views = Kept[int, View](limits.VIEWS_KEPT)

    def view(self, placement: int) -> View | None:
        """Of the placement with this serial, None if there is none (any more)."""
        found = self._views.get(placement)
        if found is None:
            view = self.snapshot.placements_by_serial.get(placement)
            return None if view is None else self._views.put(placement, view)
        return found

    def shed(self) -> Iterator[None]:
        """Let go of what was kept, a little each time it is asked: once nobody decides by it any more."""
        yield from self.snapshot.shed()
        while self.templates.shed():
            yield


class World:
    """What is served now. A request takes ``serving`` once and keeps it to its end."""

    def __init__(self) -> None:
        self.serving = Serving(compile_snapshot(Catalogue()))
        self._prepared = self.serving
        self._multipliers: dict[int, int] = {}
        self.ready = False

    @property
    def snapshot(self) -> Snapshot:
        return self.serving.snapshot

    @property
    def rates(self) -> Rates:
        return self.serving.worth.rates

    def prepare(self, snapshot: Snapshot) -> None:
        """What is learned, applied to a snapshot: the part of a swap that takes long, for another thread."""
        self._prepared = Serving(snapshot, self.rates)

    def prepared(self, snapshot: Snapshot) -> bool:
        """Whether it is, by what is learned now."""
        return self._prepared.snapshot is snapshot and self._prepared.worth.rates is self.rates

    def swap(self, snapshot: Snapshot) -> None:
        if not self.prepared(snapshot):
            self.prepare(snapshot)
        self._prepared.worth.weigh(self._multipliers)
        self.serving = self._prepared
        self.ready = True

    def learn(self, worth: Worth) -> None:
        """``worth`` is the present snapshot's."""
        worth.weigh(self._multipliers)
        self.serving.worth = worth

    def take_up(self, multipliers: dict[int, int]) -> None:
        """How much of bids counts in the auction, by line item (``bidding``): kept up to date from now on."""
        self._multipliers = multipliers
        self.weigh(())

    def weigh(self, told: tuple[tuple[int, int], ...]) -> None:
        """Others are in force, as the journal was told."""
        follow(self._multipliers, told)
        self.serving.worth.weigh(self._multipliers)
