"""What a snapshot promises, as journal records: laws can be audited from the journal alone."""

from collections.abc import Iterator

import msgspec

from adserver.domain.caps import BoundCap
from adserver.domain.records import BudgetTerms, CapTerms, LineItemTerms, PlacementTerms
from adserver.engine.snapshot import Entry, Snapshot, View


def line_item_terms(snapshot: Snapshot, now_ms: int) -> Iterator[LineItemTerms]:
    for entry in snapshot.entries:
        yield _line_item(snapshot, entry, now_ms)


def _line_item(snapshot: Snapshot, entry: Entry, now_ms: int) -> LineItemTerms:
    item, campaign = entry.line_item, entry.campaign
    return LineItemTerms(
        at_ms=now_ms,
        revision=snapshot.revision,
        serial=item.serial,
        full_id=item.full_id,
        campaign=campaign.serial,
        advertiser=entry.advertiser,
        currency=campaign.currency,
        timezone=campaign.timezone,
        model=item.pricing.model,
        amount_micros=item.pricing.amount_micros,
        caps=tuple(_caps(entry)),
        budgets=tuple(_budgets(snapshot, entry)),
        creatives=tuple((creative.serial, creative.identity) for creative in item.creatives),
    )


def _caps(entry: Entry) -> Iterator[CapTerms]:
    for cap in entry.caps:
        yield _cap(cap, cap.key)
    identities = {creative.identity: None for creative in entry.line_item.creatives}
    for cap in entry.creative_caps:
        for identity in identities:
            yield _cap(cap, f"creative:{identity}")


def _cap(cap: BoundCap, key: str) -> CapTerms:
    return CapTerms(f"session:{key}" if cap.session else key, cap.limit, cap.per_ms, cap.event)


def _budgets(snapshot: Snapshot, entry: Entry) -> Iterator[BudgetTerms]:
    """Days are the campaign's at every level: spend belongs to the day of the decision there."""
    campaign = entry.campaign
    levels = (
        (f"line_item:{entry.line_item.serial}", entry.line_item.budget),
        (f"campaign:{campaign.serial}", campaign.budget),
        (f"advertiser:{entry.advertiser}", snapshot.advertisers[campaign.advertiser].budget),
    )
    for account, budget in levels:
        for period, limit in (("lifetime", budget.lifetime_nanos), ("day", budget.daily_nanos)):
            if limit is not None:
                yield BudgetTerms(account, period, limit, campaign.timezone)


def placement_terms(snapshot: Snapshot, now_ms: int) -> Iterator[PlacementTerms]:
    for view in snapshot.placements_by_serial.values():
        yield _placement(snapshot, view, now_ms)


def _placement(snapshot: Snapshot, view: View, now_ms: int) -> PlacementTerms:
    placement, publisher = view.placement, view.publisher
    terms = PlacementTerms(
        now_ms, snapshot.revision, placement.serial, placement.full_id, publisher.serial, publisher.currency
    )
    policy = placement.feed
    if policy is None:
        return terms
    return msgspec.structs.replace(
        terms,
        share_num=policy.max_share.num,
        share_den=policy.max_share.den,
        head_start=policy.head_start,
        max_burst=policy.max_burst,
        first_position=policy.first_position,
        min_gap=policy.min_gap,
        advertiser_gap=policy.advertiser_gap,
        max_per_page=policy.max_per_page,
        account_idle_ms=policy.account_idle_ms,
    )
