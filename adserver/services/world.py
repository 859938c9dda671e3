"""The snapshot in service and its ``live`` bits: swapped together by one assignment. What was learned of
rates is swapped by itself, more often."""

from adserver.domain import limits
from adserver.domain.catalogue import Catalogue
from adserver.engine.compile import compile_snapshot
from adserver.engine.kept import Kept
from adserver.engine.live import Live
from adserver.engine.rates import Rates
from adserver.engine.snapshot import Snapshot, View
from adserver.engine.worth import Worth
from adserver.services.templates import Template


class Serving:
    """One snapshot with what moves beside it. ``promised``: the journal holds its terms, without which
    nothing of it may be sold. ``templates``: what was encoded of its creatives, by
    the serial of the version."""

    def __init__(self, snapshot: Snapshot, worth: Worth, promised: bool = True) -> None:
        self.snapshot = snapshot
        self.worth = worth
        self.promised = promised
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


class World:
    """What is served now. A request takes ``serving`` once and keeps it to its end."""

    def __init__(self) -> None:
        nothing = compile_snapshot(Catalogue())
        self.serving = Serving(nothing, Worth(nothing.entries, Rates()))
        self.ready = False

    @property
    def snapshot(self) -> Snapshot:
        return self.serving.snapshot

    @property
    def rates(self) -> Rates:
        return self.serving.worth.rates

    def swap(self, snapshot: Snapshot, promised: bool = True) -> None:
        self.serving = Serving(snapshot, Worth(snapshot.entries, self.rates), promised)
        self.ready = True

    def learn(self, worth: Worth) -> None:
        """``worth`` is the present snapshot's."""
        self.serving.worth = worth
