"""Finding a creative version by its serial: in the snapshot, or, for what was replaced or archived since,
in the catalog. Replaced versions are asked for by old URLs only, so a small memory suffices."""

from functools import lru_cache
from typing import Protocol

from adserver.domain.campaign import Creative, LineItem
from adserver.domain.changes import Kind, Stored
from adserver.services.render import Sold
from adserver.services.world import World

_REMEMBERED = 10_000


class Archive(Protocol):
    def creative(self, serial: int) -> tuple[Creative, LineItem, str] | None: ...
    def get(self, kind: Kind, full_id: str) -> Stored | None: ...


class SoldFinder:
    """Callable: serial -> Sold, or None for a serial never given."""

    def __init__(self, world: World, archive: Archive) -> None:
        self._world = world
        self._archive = archive
        self._formerly = lru_cache(maxsize=_REMEMBERED)(self._read)

    def __call__(self, serial: int) -> Sold | None:
        """Blocks where the catalog is asked. Raises Unread."""
        return self.live(serial) or self._formerly(serial)

    def live(self, serial: int) -> Sold | None:
        """Of the snapshot alone."""
        found = self._world.snapshot.creatives.get(serial)
        if found is None:
            return None
        creative, entry = found
        campaign = entry.campaign
        owner = campaign.advertiser, campaign.id, campaign.timezone, campaign.currency
        return Sold(creative, entry.line_item, *owner)

    def _read(self, serial: int) -> Sold | None:
        found = self._archive.creative(serial)
        if found is None:
            return None
        creative, line_item, full_id = found
        advertiser, _, campaign = full_id.partition("/")
        stored = self._archive.get("campaign", full_id)
        said = stored.body if stored is not None else {}
        timezone, currency = str(said.get("timezone", "UTC")), str(said.get("currency", ""))
        return Sold(creative, line_item, advertiser, campaign, timezone, currency)
