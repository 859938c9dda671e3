"""What a snapshot promises, as journal records: laws can be audited from the journal alone."""

from collections.abc import Iterator

import msgspec
from msgspec.structs import force_setattr

from adserver.domain.campaign import Advertiser, Budget
from adserver.domain.caps import BoundCap
from adserver.domain.credits import PREPAID
from adserver.domain.records import BudgetTerms, CapTerms, LineItemTerms, PlacementTerms
from adserver.engine.localtime import flight_days
from adserver.engine.snapshot import Entry, Snapshot, View


class InForce:
    """What a snapshot says of line items and budgets, made when somebody asks. ``at_ms`` and ``revision`` of
    its records are 0: they are those of the moment one is journalled."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.revision = snapshot.revision

    def line_item(self, serial: int) -> LineItemTerms | None:
        entry = self._snapshot.by_serial.get(serial)
        if entry is None:
            return None
        if entry.terms is None:
            force_setattr(entry, "terms", _line_item(self._snapshot, entry))
        return entry.terms

    def levels(self, terms: LineItemTerms) -> dict[str, tuple[BudgetTerms, ...]]:
        """Budgets of the campaign and the advertiser such a line item had, where these are still there."""
        full_id = terms.full_id.rpartition("/")[0]
        campaign = self._snapshot.campaigns.get(full_id)
        advertiser = self._snapshot.advertisers.get(full_id.partition("/")[0])
        found = {}
        if campaign is not None:
            name = f"campaign:{campaign.serial}"
            found[name] = tuple(_budgets(name, campaign.budget, terms.timezone))
        if advertiser is not None:
            name = f"advertiser:{advertiser.serial}"
            found[name] = tuple(_advertisers(name, advertiser, terms.timezone))
        return found

    def absent(self, serials: set[int]) -> set[int]:
        return self._snapshot.absent(serials)


def _line_item(snapshot: Snapshot, entry: Entry) -> LineItemTerms:
    item, campaign = entry.line_item, entry.campaign
    zone = campaign.timezone
    first_day, days = flight_days(item.flight, zone) if item.pricing.per == "flight" else (0, 0)
    return LineItemTerms(
        at_ms=0,
        revision=0,
        serial=item.serial,
        full_id=item.full_id,
        campaign=campaign.serial,
        advertiser=entry.advertiser,
        currency=campaign.currency,
        timezone=zone,
        model=item.pricing.model,
        amount_micros=item.pricing.amount_micros,
        caps=tuple(_caps(entry)),
        budgets=(
            *_budgets(f"line_item:{item.serial}", item.budget, zone),
            *_budgets(f"campaign:{campaign.serial}", campaign.budget, zone),
            *_advertisers(f"advertiser:{entry.advertiser}", snapshot.advertisers[campaign.advertiser], zone),
        ),
        creatives=tuple((creative.serial, creative.identity) for creative in item.creatives),
        click_window_ms=campaign.attribution.click_ms,
        view_window_ms=campaign.attribution.view_ms,
        first_day=first_day,
        days=days,
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


def _budgets(account: str, budget: Budget, timezone: str) -> Iterator[BudgetTerms]:
    """Days are the campaign's at every level: spend belongs to the day of the decision there."""
    for period, limit in (("lifetime", budget.lifetime_nanos), ("day", budget.daily_nanos)):
        if limit is not None:
            yield BudgetTerms(account, period, limit, timezone)


def _advertisers(account: str, advertiser: Advertiser, timezone: str) -> Iterator[BudgetTerms]:
    yield from _budgets(account, advertiser.budget, timezone)
    if advertiser.prepaid:
        yield BudgetTerms(account, PREPAID, 0, timezone)


def placement_terms(view: View) -> PlacementTerms:
    placement, publisher = view.placement, view.publisher
    terms = PlacementTerms(
        0, 0, placement.serial, placement.full_id, publisher.serial, publisher.currency,
        revenue_share_ppm=publisher.revenue_share_ppm,
    )  # fmt: skip
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
