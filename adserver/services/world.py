"""The snapshot in service and its ``live`` bits: swapped together by one assignment."""

from adserver.domain import limits
from adserver.domain.catalogue import Catalogue
from adserver.engine.compile import compile_snapshot
from adserver.engine.kept import Kept
from adserver.engine.live import Live
from adserver.engine.snapshot import Snapshot, View
from adserver.services.templates import Template


class Serving:
    """One snapshot with what moves beside it. ``templates``: what was encoded of its creatives, by the
    serial of the version."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
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
        self.serving = Serving(compile_snapshot(Catalogue()))
        self.ready = False

    @property
    def snapshot(self) -> Snapshot:
        return self.serving.snapshot

    def swap(self, snapshot: Snapshot) -> None:
        self.serving = Serving(snapshot)
        self.ready = True
