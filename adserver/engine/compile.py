"""Catalogue -> snapshot: bind caps to their scopes, put line items into rank order, build the index."""

from collections import defaultdict
from collections.abc import Iterable

from adserver.domain.campaign import Campaign, FrequencyCap, LineItem
from adserver.domain.caps import BoundCap, counted
from adserver.domain.catalogue import Catalogue
from adserver.domain.targeting import Clause, Targeting
from adserver.engine import checks, ranking
from adserver.engine.checks import Check
from adserver.engine.draw import mix
from adserver.engine.index import Index
from adserver.engine.snapshot import Entry, Snapshot

_Shared = dict[str, list[FrequencyCap]]


def compile_snapshot(catalogue: Catalogue) -> Snapshot:
    """Pure: the same catalogue gives the same snapshot. Cost: linear in line items times placements."""
    advertisers = {advertiser.id: advertiser.serial for advertiser in catalogue.advertisers}
    shared = _shared_caps(catalogue)
    ranked = sorted(
        ((campaign, item) for campaign in catalogue.campaigns for item in campaign.line_items), key=_rank
    )
    asked = [checks.of(item.targeting) for _, item in ranked]
    required = checks.often_required(asked)
    entries: list[Entry] = []
    for (campaign, item), mine in zip(ranked, asked, strict=True):
        serial = advertisers[campaign.advertiser]
        clauses = _clauses(item.targeting, campaign.timezone) | checks.indexed(mine, required)
        caps = _binding(shared, campaign, item, serial)
        entries.append(_entry(entries, campaign, item, serial, caps, clauses, mine))
    return Snapshot(catalogue, tuple(entries), Index([entry.clauses for entry in entries]), required)


def _rank(pair: tuple[Campaign, LineItem]) -> tuple[int, int, int]:
    """Tier, best bid first, and then by a hash: never by id, which would favour the alphabet."""
    _, item = pair
    tier = ranking.tier(item)
    bid = ranking.ecpm_micros(item.pricing) if ranking.is_auction(tier) else 0
    return tier, -bid, mix(item.serial, 0)


def _entry(
    before: list[Entry], campaign: Campaign, item: LineItem, advertiser: int, caps: list[BoundCap],
    clauses: dict[str, Clause], asked: tuple[Check, ...],
) -> Entry:  # fmt: skip
    tier, score = ranking.tier(item), ranking.ecpm_micros(item.pricing)
    last = before[-1] if before else None
    same = last is not None and last.tier == tier and (last.score == score or not ranking.is_auction(tier))
    creative_caps = tuple(_bind(cap, "creative") for cap in item.frequency_caps if cap.scope == "creative")
    return Entry(
        position=len(before),
        line_item=item,
        campaign=campaign,
        advertiser=advertiser,
        tier=tier,
        score=score,
        run=(last.run if same else last.run + 1) if last else 0,
        active=campaign.status == "active" and item.status == "active",
        clauses=clauses,
        caps=tuple(caps),
        creative_caps=creative_caps,
        counts=counted(tuple(caps), "impression"),
        checks=asked,
    )


def _clauses(targeting: Targeting, timezone: str) -> dict[str, Clause]:
    """Day parts join the other dimensions: one dimension per time zone, its value the hour of the week."""
    given = targeting.clauses.items()
    clauses = {name: clause for name, clause in given if not checks.patterned(name, clause)}
    if targeting.hours is not None:
        clauses[f"hours:{timezone}"] = Clause(any=tuple(str(hour) for hour in sorted(targeting.hours)))
    return clauses


def _shared_caps(catalogue: Catalogue) -> _Shared:
    """Caps of scope campaign and advertiser, by the key they bind (see ``domain.caps``). Drafts and
    paused line items bind nobody."""
    serials = {advertiser.id: advertiser.serial for advertiser in catalogue.advertisers}
    shared: _Shared = defaultdict(list)
    for campaign in catalogue.campaigns:
        keys = {
            "campaign": f"campaign:{campaign.serial}",
            "advertiser": f"advertiser:{serials[campaign.advertiser]}",
        }
        for item in campaign.line_items:
            if campaign.status == item.status == "active":
                for cap in item.frequency_caps:
                    if cap.scope in keys:
                        shared[keys[cap.scope]].append(cap)
    return shared


def _binding(shared: _Shared, campaign: Campaign, item: LineItem, advertiser: int) -> list[BoundCap]:
    own = f"line_item:{item.serial}"
    bound = [_bind(cap, own) for cap in item.frequency_caps if cap.scope == "line_item"]
    for key in (f"campaign:{campaign.serial}", f"advertiser:{advertiser}"):
        bound += [_bind(cap, key) for cap in shared.get(key, ())]
    return list(_tightest(bound))


def _tightest(caps: Iterable[BoundCap]) -> Iterable[BoundCap]:
    """Of caps on the same counter and window only the lowest limit binds."""
    kept: dict[tuple[str, int], BoundCap] = {}
    for cap in caps:
        name = (cap.counter, cap.per_ms)
        if name not in kept or cap.limit < kept[name].limit:
            kept[name] = cap
    return kept.values()


def _bind(cap: FrequencyCap, key: str) -> BoundCap:
    return BoundCap(key, cap.limit, cap.per_ms, cap.event, cap.session)
