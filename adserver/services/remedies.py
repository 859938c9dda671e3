"""For each rule the smallest change of the line item that lifts it.

Rules that are not the line item's own (what a publisher or a request blocks, where a feed has room) have
none. Whether the change would have won the request is not for this file to say: it is rehearsed.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from adserver.domain import limits
from adserver.domain.admission import Full
from adserver.domain.campaign import FLAT
from adserver.domain.caps import BoundCap
from adserver.engine import localtime, ranking
from adserver.engine.rules import Context, Drop
from adserver.engine.snapshot import Entry
from adserver.services import bids, plans, retargeted
from adserver.services.rehearsal import Change, Raised
from adserver.services.remedy import Remedy, with_campaign, with_item


class Case(Struct, frozen=True):
    """Where a line item was dropped: what was asked, and the counters and books it was asked of."""

    context: Context
    full: Full
    accounts: plans.Accounts


def remedy(drop: Drop, entry: Entry, case: Case) -> Remedy | None:
    """None where no change of the line item lifts it."""
    if drop.rule.startswith("targeting."):
        return retargeted.remedy(drop, entry, case.context)
    if drop.rule.startswith("frequency_cap "):
        return _cap(drop, entry, case)
    found = _BY_RULE.get(drop.rule)
    return found(drop, entry, case) if found is not None else None


def _status(drop: Drop, entry: Entry, case: Case) -> Remedy | None:
    """The campaign's first: with both paused one change does not do."""
    campaign, item = entry.campaign.status, entry.line_item.status
    whose, status = ("campaign", campaign) if campaign != "active" else ("line_item", item)
    active = "active" in (campaign, item)
    changed = (
        with_campaign(entry, status="active") if whose == "campaign" else with_item(entry, status="active")
    )
    told: dict[str, object] = {"change": "status", "of": whose, "from": status, "to": "active"}
    return Remedy(told, Change(msgspec.structs.replace(changed, active=active)))


def _start(drop: Drop, entry: Entry, case: Case) -> Remedy:
    start_ms = case.context.request.now_ms // 1000 * 1000
    flight = msgspec.structs.replace(entry.line_item.flight, start_ms=start_ms)
    told: dict[str, object] = {"change": "flight.start", "to": _instant(start_ms)}
    return Remedy(told, Change(with_item(entry, flight=flight)))


def _end(drop: Drop, entry: Entry, case: Case) -> Remedy:
    """Ends are exclusive."""
    end_ms = (case.context.request.now_ms // 1000 + 1) * 1000
    flight = msgspec.structs.replace(entry.line_item.flight, end_ms=end_ms)
    told: dict[str, object] = {"change": "flight.end", "to": _instant(end_ms)}
    return Remedy(told, Change(with_item(entry, flight=flight)))


def _minors(drop: Drop, entry: Entry, case: Case) -> Remedy:
    told: dict[str, object] = {"change": "suitable_for_minors", "to": True}
    return Remedy(told, Change(with_item(entry, suitable_for_minors=True)))


def _nobody(drop: Drop, entry: Entry, case: Case) -> Remedy:
    told: dict[str, object] = {"change": "serve_without_user", "to": True}
    return Remedy(told, Change(with_item(entry, serve_without_user=True)))


def _floor(drop: Drop, entry: Entry, case: Case) -> Remedy | None:
    return bids.earning(entry, case.context.floor(entry), case.context)


def _goal(drop: Drop, entry: Entry, case: Case) -> Remedy | None:
    goal = entry.line_item.goal
    if goal is None or not isinstance(drop.got, int):
        return None
    told: dict[str, object] = {"change": f"goal.{goal.kind}", "from": goal.amount, "to": drop.got + 1}
    amount = drop.got + 1
    if goal.kind == "spend":
        amount = _round_up(amount)
        told = {"change": "goal.spend", "from_micros": goal.amount // 1000, "to_micros": amount // 1000}
    return Remedy(told, Change(with_item(entry, goal=msgspec.structs.replace(goal, amount=amount))))


def _pacing(drop: Drop, entry: Entry, case: Case) -> Remedy:
    item = entry.line_item
    told: dict[str, object] = {"change": "pacing", "from": list(item.hours) or item.pacing, "to": "asap"}
    return Remedy(told, Change(with_item(entry, pacing="asap")))


def _budget(drop: Drop, entry: Entry, case: Case) -> Remedy | None:
    """The first budget, from the line item's own up, that has no room for what it holds."""
    pricing = entry.line_item.pricing
    hold = ranking.hold_nanos(pricing.model, pricing.amount_micros)
    if pricing.model == FLAT and isinstance(drop.wanted, int):
        hold = drop.wanted
    for level, period, account in _accounts(entry, case):
        limit, needed = account.limit_nanos, account.used_nanos + hold
        if limit is not None and needed > limit:
            needed = _round_up(needed)
            told: dict[str, object] = {
                "change": f"budget.{period}",
                "of": level,
                "from_micros": limit // 1000,
                "to_micros": needed // 1000,
                "currency": entry.campaign.currency,
            }
            return Remedy(told, Change(entry, raised=Raised(account, needed)))
    return None


def _wallet(drop: Drop, entry: Entry, case: Case) -> Remedy:
    """So much paid in, in all, that one more is held."""
    pricing, account = entry.line_item.pricing, case.accounts.account(f"advertiser:{entry.advertiser}")
    hold = ranking.hold_nanos(pricing.model, pricing.amount_micros)
    needed = _round_up(account.used_nanos + hold)
    told: dict[str, object] = {
        "change": "wallet",
        "of": "advertiser",
        "from_micros": (account.limit_nanos or 0) // 1000,
        "to_micros": needed // 1000,
        "currency": entry.campaign.currency,
    }
    return Remedy(told, Change(entry, raised=Raised(account, needed)))


def _accounts(entry: Entry, case: Case) -> Iterator[tuple[str, str, plans.Account]]:
    """(level, period, account)."""
    day = localtime.day(entry.campaign.timezone, case.context.request.now_ms)
    serials = (entry.line_item.serial, entry.campaign.serial, entry.advertiser)
    for level, serial in zip(("line_item", "campaign", "advertiser"), serials, strict=True):
        name = f"{level}:{serial}"
        yield level, "lifetime", case.accounts.account(name)
        yield level, "daily", case.accounts.account(name, day)


def _cap(drop: Drop, entry: Entry, case: Case) -> Remedy | None:
    """The limit that leaves room for one more; for everybody whom the same cap binds."""
    counter = drop.rule.removeprefix("frequency_cap ")
    caps = (*entry.caps, *entry.creative_caps)
    cap = next((cap for cap in caps if (cap.counter, cap.limit) == (counter, drop.wanted)), None)
    limit = None if cap is None else _room(cap, case.full)
    if cap is None or limit is None:
        return None
    told: dict[str, object] = {
        "change": "frequency_caps",
        "scope": cap.key.partition(":")[0],
        "event": cap.event,
        "per_ms": None if cap.session else cap.per_ms,
        "from": cap.limit,
        "to": limit,
    }
    raised = msgspec.structs.replace(cap, limit=limit)
    return Remedy(told, Change(_capped(entry, cap, raised), lambda other: _capped(other, cap, raised)))


def _room(cap: BoundCap, full: Full) -> int | None:
    """The least limit above the cap's that is not full."""
    above = range(cap.limit + 1, limits.CAP_LIMIT_MAX + 1)
    return next((n for n in above if not full(msgspec.structs.replace(cap, limit=n))), None)


def _capped(entry: Entry, cap: BoundCap, instead: BoundCap) -> Entry:
    if cap not in entry.caps and cap not in entry.creative_caps:
        return entry
    caps = tuple(instead if one == cap else one for one in entry.caps)
    creative_caps = tuple(instead if one == cap else one for one in entry.creative_caps)
    return msgspec.structs.replace(entry, caps=caps, creative_caps=creative_caps)


def _repeat(drop: Drop, entry: Entry, case: Case) -> Remedy:
    serial = entry.campaign.serial

    def allowed(other: Entry) -> Entry:
        mine = other.campaign.serial == serial
        return with_campaign(other, repeat_in_request=True) if mine else other

    told: dict[str, object] = {"change": "repeat_in_request", "of": "campaign", "to": True}
    return Remedy(told, Change(allowed(entry), allowed))


def _labels(drop: Drop, entry: Entry, case: Case) -> Remedy:
    """Those it shares with what is beside it, off its own list or off its exclusions."""
    own = entry.campaign.exclude_labels
    field = "exclude_labels" if drop.wanted == list(own) else "labels"
    listed = own if field == "exclude_labels" else entry.campaign.labels
    sides = [set(side) for side in (drop.wanted, drop.got) if isinstance(side, list)]
    shared = sorted(set.intersection(*sides))
    changed = with_campaign(entry, **{field: tuple(label for label in listed if label not in shared)})
    return Remedy({"change": field, "of": "campaign", "remove": shared}, Change(changed))


def _creative(drop: Drop, entry: Entry, case: Case) -> Remedy:
    """The first that would fit if it were active, else one more, of a format and size the placement takes."""
    creatives, fit = entry.line_item.creatives, case.context.view.fit
    for number, creative in enumerate(creatives):
        active = msgspec.structs.replace(creative, status="active")
        if creative.status != "active" and fit.fitting((active,)):
            told: dict[str, object] = {
                "change": "creatives", "id": creative.id, "status": {"from": creative.status, "to": "active"}
            }  # fmt: skip
            changed = (*creatives[:number], active, *creatives[number + 1 :])
            return Remedy(told, Change(with_item(entry, creatives=changed)))
    view = case.context.view
    form, size = min(view.formats, default=""), min(view.sizes, default="fluid")
    one = msgspec.structs.replace(creatives[0], format=form, size=size, status="active", weight=1)
    told = {"change": "creatives", "add": {"format": form, "size": size}}
    return Remedy(told, Change(with_item(entry, creatives=(*creatives, one))))


def _instant(ms: int) -> str:
    """As campaign files write it: whole seconds."""
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _round_up(nanos: int) -> int:
    """Budgets are written in micros."""
    return -(-nanos // 1000) * 1000


_BY_RULE: Final[dict[str, Callable[[Drop, Entry, Case], Remedy | None]]] = {
    "status": _status,
    "flight.start": _start,
    "flight.end": _end,
    "suitable_for_minors": _minors,
    "serve_without_user": _nobody,
    "creatives": _creative,
    "floor": _floor,
    "goal": _goal,
    "budget": _budget,
    "wallet": _wallet,
    "pacing": _pacing,
    "repeat_in_request": _repeat,
    "exclude_labels": _labels,
}
