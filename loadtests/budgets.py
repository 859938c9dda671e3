"""Law 3 from the answers and the delivery numbers: billed <= budget at every level, and every cent billed
was billed for an event that a visitor was told was billed.

A line item's ``spend_micros`` must lie between what the answered calls add up to, in nanos: a billed event
costs the bid (``rate_micros`` per 1000 are as many nanos each), or, where a second price cleared, its
``clearing_micros``, of which up to a micro was rounded off. A call that was never answered may or may not
have been billed: it widens the interval by its price. Both ends are then held against every budget: line
item, campaign and advertiser, lifetime and, by the day of the *decision* in the campaign's time zone, day.
The server must have begun with empty books.
"""

from collections import defaultdict
from typing import Any, Final

from msgspec import Struct

from adserver.domain.campaign import Campaign
from adserver.engine import localtime
from loadtests.findings import Findings
from loadtests.records import Ad, Decision, Event
from loadtests.terms import Limit, World

BILLABLE: Final = {"cpm": "impression", "vcpm": "viewable", "cpc": "click"}
COUNTED: Final = {"impression": "impressions", "viewable": "viewable", "click": "clicks"}

Delivery = dict[str, dict[str, Any]]
"""Full id of a campaign -> the answer to its ``delivery``."""


class Sold(Struct, frozen=True):
    """An ad as first answered: what its billable event costs in nanos, at least and at most."""

    ad: Ad
    decided_ms: int
    least_nanos: int
    most_nanos: int


class Tally(Struct):
    """What visitors know of a line item. ``least`` is surely billed, ``most`` perhaps."""

    least_nanos: int = 0
    most_nanos: int = 0
    accepted: dict[str, int] = {}
    perhaps: dict[str, int] = {}
    days: dict[int, int] = {}
    """Local day of the decision -> surely billed nanos."""


def check(decisions: list[Decision], events: list[Event], delivery: Delivery, world: World) -> Findings:
    """Law 3 over everything answered and delivered."""
    found = Findings("3 budget", needed=("billed events", "spend micros", "budgets spent"))
    tallies = _tallies(found, _sold(found, decisions, world), events, world)
    for name, campaign in world.campaigns.items():
        _check_campaign(found, name, campaign, delivery.get(name), tallies)
    for limit in world.limits():
        found.count("budgets")
        _check_limit(found, limit, tallies, delivery, world)
    return found


def _sold(found: Findings, decisions: list[Decision], world: World) -> dict[str, Sold]:
    """Every ad, at the price of its first answer: that one was given under the terms it was decided by."""
    sold: dict[str, Sold] = {}
    for decision in decisions:
        for slot in decision.slots:
            placement = world.placements[f"{decision.publisher}/{slot.placement}"]
            for ad in slot.ads:
                if ad.event_id not in sold and ad.price is not None:
                    exact = placement.auction == "first_price"
                    decided_ms = ad.expires_ms - placement.render_within_ms
                    sold[ad.event_id] = Sold(ad, decided_ms, *_nanos(found, ad, exact))
    return sold


def _nanos(found: Findings, ad: Ad, exact: bool) -> tuple[int, int]:
    price = ad.price
    assert price is not None
    bid, bid_nanos = price.rate_micros // price.per, price.rate_micros * 1000 // price.per
    found.expect(price.clearing_micros <= bid, f"ad {ad.event_id} clears above its bid")
    if exact:
        found.expect(
            price.clearing_micros == bid, f"ad {ad.event_id} clears below its bid without an auction"
        )
        return bid_nanos, bid_nanos
    return price.clearing_micros * 1000, min(price.clearing_micros * 1000 + 999, bid_nanos)


def _tallies(found: Findings, sold: dict[str, Sold], events: list[Event], world: World) -> dict[str, Tally]:
    """By full id of the line item."""
    tallies: dict[str, Tally] = defaultdict(
        lambda: Tally(0, 0, defaultdict(int), defaultdict(int), defaultdict(int))
    )
    accepted: set[tuple[str, str]] = set()
    lost: set[tuple[str, str]] = set()
    for event in events:
        shown = sold.get(event.event_id)
        if shown is None or event.kind not in COUNTED:
            continue
        key = (event.event_id, event.kind)
        if event.status == 0:
            lost.add(key)
        elif event.verdict == "accepted":
            found.expect(key not in accepted, f"the {event.kind} of ad {event.event_id} was accepted twice")
            accepted.add(key)
            _accept(found, tallies[shown.ad.line_item_id], shown, event, world)
        else:
            found.expect(
                not event.billed, f"a {event.verdict} {event.kind} of ad {event.event_id} was billed"
            )
    for event_id, kind in lost - accepted:
        shown = sold[event_id]
        tally = tallies[shown.ad.line_item_id]
        tally.perhaps[kind] += 1
        if _is_billable(shown, kind):
            tally.most_nanos += shown.most_nanos
    return tallies


def _accept(found: Findings, tally: Tally, shown: Sold, event: Event, world: World) -> None:
    tally.accepted[event.kind] += 1
    found.count("accepted events")
    if not event.billed:
        return
    found.count("billed events")
    model = shown.ad.price.model if shown.ad.price is not None else ""
    found.expect(
        _is_billable(shown, event.kind), f"the {event.kind} of {model} ad {event.event_id} was billed"
    )
    tally.least_nanos += shown.least_nanos
    tally.most_nanos += shown.most_nanos
    zone = world.campaigns[shown.ad.campaign_id].timezone
    tally.days[localtime.day(zone, shown.decided_ms)] += shown.least_nanos


def _is_billable(shown: Sold, kind: str) -> bool:
    return shown.ad.price is not None and BILLABLE[shown.ad.price.model] == kind


def _check_campaign(
    found: Findings,
    name: str,
    campaign: Campaign,
    delivered: dict[str, Any] | None,
    tallies: dict[str, Tally],
) -> None:
    """Its numbers against what visitors were told."""
    numbers = {item["id"]: item for item in delivered["line_items"]} if delivered is not None else {}
    for item in campaign.line_items:
        full_id = f"{name}/{item.id}"
        tally = tallies.get(full_id)
        got = numbers.get(item.id)
        if got is None:
            found.expect(tally is None, f"{full_id} served, but there are no delivery numbers of it")
            continue
        found.count("line items")
        tally = tally or Tally()
        spend = got["spend_micros"]
        found.count("spend micros", spend)
        least, most = tally.least_nanos // 1000, tally.most_nanos // 1000
        message = f"{full_id}: spend_micros is {spend}, the billed events add up to {least}..{most}"
        found.expect(least <= spend <= most, message)
        for kind, column in COUNTED.items():
            low = tally.accepted.get(kind, 0)
            high = low + tally.perhaps.get(kind, 0)
            message = f"{full_id}: {column} is {got[column]}, visitors were told of {low}..{high}"
            found.expect(low <= got[column] <= high, message)


def _check_limit(
    found: Findings, limit: Limit, tallies: dict[str, Tally], delivery: Delivery, world: World
) -> None:
    known = {full_id: tally for full_id, tally in tallies.items() if _within(full_id, limit)}
    days = {day for tally in known.values() for day in tally.days}
    if limit.period == "lifetime" or len(days) <= 1:
        # The delivery numbers are the campaign's lifetime, which is one day if all decisions were on it.
        billed = 1000 * sum(
            item["spend_micros"]
            for name in world.campaigns
            for item in (delivery[name]["line_items"] if name in delivery else ())
            if _within(f"{name}/{item['id']}", limit)
        )
        spent = max(billed, sum(tally.least_nanos for tally in known.values()))
    else:
        spent = max(sum(tally.days.get(day, 0) for tally in known.values()) for day in days)
    found.expect(spent <= limit.nanos, f"{limit}: {spent / 10**9:.6f} were billed")
    # Nearly: an ad that was not rendered, nor released, holds its price until it expires.
    found.count("budgets spent", 0 < limit.nanos * 8 <= spent * 10)


def _within(line_item: str, limit: Limit) -> bool:
    """Whether a line item is bound by a budget. Full ids nest, so a prefix of whole parts tells."""
    return f"{line_item}/".startswith(f"{limit.owner}/")
