"""Which frequency caps bind which line items of an advertiser (``domain/caps`` says why siblings bind)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from adserver.domain.campaign import Campaign, FrequencyCap, LineItem
from adserver.domain.caps import BoundCap

Shared = Mapping[str, Sequence[FrequencyCap]]


def bound(cap: FrequencyCap, key: str) -> BoundCap:
    return BoundCap(key, cap.limit, cap.per_ms, cap.event, cap.session)


def shared(campaigns: Iterable[Campaign], advertiser: int) -> Shared:
    """Caps of scope campaign and advertiser, of one advertiser's campaigns, by the key they bind. Drafts
    and paused line items bind nobody."""
    found: dict[str, list[FrequencyCap]] = defaultdict(list)
    for campaign in campaigns:
        keys = {"campaign": f"campaign:{campaign.serial}", "advertiser": f"advertiser:{advertiser}"}
        for item in campaign.line_items:
            if campaign.status == item.status == "active":
                for cap in item.frequency_caps:
                    if cap.scope in keys:
                        found[keys[cap.scope]].append(cap)
    return found


def binding(given: Shared, campaign: Campaign, item: LineItem, advertiser: int) -> tuple[BoundCap, ...]:
    """Every cap that binds the line item (those of scope creative excepted)."""
    caps = [bound(c, f"line_item:{item.serial}") for c in item.frequency_caps if c.scope == "line_item"]
    if given:
        for key in (f"campaign:{campaign.serial}", f"advertiser:{advertiser}"):
            caps += [bound(cap, key) for cap in given.get(key, ())]
    return tuple(_tightest(caps)) if len(caps) > 1 else tuple(caps)


def _tightest(caps: Iterable[BoundCap]) -> Iterable[BoundCap]:
    """Of caps on the same counter and window only the lowest limit binds."""
    kept: dict[tuple[str, int], BoundCap] = {}
    for cap in caps:
        name = (cap.counter, cap.per_ms)
        if name not in kept or cap.limit < kept[name].limit:
            kept[name] = cap
    return kept.values()
