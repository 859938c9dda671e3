"""What a report is asked for, read from texts and checked, every fault at once."""

from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from adserver.domain import ids, limits
from adserver.domain.reports import (
    ADVERTISER,
    DIMENSIONS,
    METRICS,
    MONEY,
    OF_PEOPLE,
    POINTING,
    PUBLISHER,
    REQUESTED,
    Scope,
    hidden_from,
    usual,
    with_net,
)  # fmt: skip
from adserver.services.manage import Who, absent
from adserver.services.refusals import Refused
from adserver.services.spans import QUARTER_MS, begins_day, instant_ms

_DAY: Final = 96
"""Quarters of an hour."""
_OF_SALES: Final = frozenset(("advertiser", "campaign", "line_item", "creative"))


class ReportAsk(Struct, frozen=True):
    """As it was asked, each a text, empty where it was not. ``group_by``, ``metrics``: with commas between.
    ``advertiser``, ``campaign`` (a full id) and ``publisher``: what alone it is to be about."""

    since: str = ""
    to: str = ""
    timezone: str = ""
    group_by: str = ""
    metrics: str = ""
    advertiser: str = ""
    campaign: str = ""
    publisher: str = ""


class Wanted(Struct, frozen=True):
    """``first``, ``end``: quarters of an hour since the epoch, the end exclusive."""

    zone: ZoneInfo
    first: int
    end: int
    group_by: tuple[str, ...]
    metrics: tuple[str, ...]
    scope: Scope

    @property
    def money(self) -> bool:
        return not MONEY.isdisjoint(self.metrics)

    @property
    def requests(self) -> bool:
        return not frozenset(REQUESTED).isdisjoint(self.metrics)

    @property
    def whole_days(self) -> bool:
        return begins_day(self.zone, self.first) and begins_day(self.zone, self.end)

    @property
    def pointing(self) -> bool:
        """Whether its rows may be about few enough people to point at one: a part of a day is as good as an
        hour."""
        return not self.whole_days or not POINTING.isdisjoint(self.group_by)

    @property
    def reach(self) -> bool:
        return not frozenset(OF_PEOPLE).isdisjoint(self.metrics)


def wanted(who: Who, ask: ReportAsk) -> Wanted:
    """Raises Refused: 400 for what is wrong, 403 and 404 for what this key may not."""
    errors = list[tuple[str, str]]()
    zone = _zone(ask.timezone or "UTC", errors)
    group_by = _names("group_by", ask.group_by or "day", DIMENSIONS, errors)
    metrics = _names("metrics", ask.metrics, METRICS, errors) or usual(who.role)
    first, end = _quarter("from", ask.since, zone, errors), _quarter("to", ask.to, zone, errors)
    if not errors:
        errors += _range(first, end, group_by)
    if errors:
        raise Refused(400, "the report cannot be made", errors)
    _allowed(who, group_by, metrics)
    scope = _scope(who, ask)
    found = Wanted(zone, first, end, group_by, with_net(metrics, who.role), scope)
    if found.requests and not (
        _OF_SALES.isdisjoint(group_by) and not scope.advertiser and not scope.campaign
    ):
        message = f"{', '.join(REQUESTED)} are of placements: they cannot be told by what was sold"
        raise Refused(400, "the report cannot be made", [("metrics", message)])
    return found


def _zone(name: str, errors: list[tuple[str, str]]) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        errors.append(("timezone", "must be a time zone such as Europe/Paris"))
        return ZoneInfo("UTC")


def _names(path: str, text: str, known: tuple[str, ...], errors: list[tuple[str, str]]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for name in text[: limits.VALUE_CHARS].split(",") if name))
    if any(name not in known for name in names):
        errors.append((path, f"must be of {', '.join(known)}, with commas between"))
    return names


def _quarter(path: str, text: str, zone: ZoneInfo, errors: list[tuple[str, str]]) -> int:
    try:
        at_ms = instant_ms(text, zone, through=path == "to")
    except (ValueError, OverflowError):
        errors.append((path, "must be a day, such as 2026-01-31, or an instant of RFC 3339"))
        return 0
    if not 0 <= at_ms < limits.INSTANT_MS_MAX or at_ms % QUARTER_MS:
        errors.append((path, "must be on a quarter of an hour between 1970 and 9999"))
    return at_ms // QUARTER_MS


def _range(first: int, end: int, group_by: tuple[str, ...]) -> list[tuple[str, str]]:
    if end <= first:
        return [("to", "must be later than from")]
    days = limits.REPORT_DAYS_BY_HOUR if "hour" in group_by else limits.REPORT_DAYS
    # A day more, for those of 25 hours.
    if end - first > (days + 1) * _DAY:
        return [("to", f"must be at most {days} days behind from" + " by hour" * ("hour" in group_by))]
    return []


def _allowed(who: Who, group_by: tuple[str, ...], metrics: tuple[str, ...]) -> None:
    hidden = hidden_from(who.role)
    errors = [
        (path, f"{name} is not told to {who.role}s")
        for path, names in (("group_by", group_by), ("metrics", metrics))
        for name in names
        if name in hidden
    ]
    if errors:
        raise Refused(403, "not for this key", errors)


def _scope(who: Who, ask: ReportAsk) -> Scope:
    advertiser, _, campaign = ask.campaign.partition("/")
    parts = (("advertiser", ask.advertiser), ("publisher", ask.publisher))
    texts = (*parts, *((("campaign", advertiser), ("campaign", campaign)) if ask.campaign else ()))
    errors = [
        (path, "must be a full id, such as solace/autumn" if path == "campaign" else "must be an id")
        for path, text in texts
        if (text or path == "campaign") and not ids.SLUG.match(text)
    ]
    if ask.campaign and ask.advertiser not in ("", advertiser):
        errors.append(("campaign", "must be a full id, of this advertiser"))
    if errors:
        raise Refused(400, "the report cannot be made", list(dict.fromkeys(errors)))
    if who.role == ADVERTISER:
        if {ask.advertiser or who.owner, advertiser or who.owner} != {who.owner}:
            absent()
        return Scope(who.owner or "", ask.campaign, ask.publisher)
    if who.role == PUBLISHER:
        if ask.advertiser or ask.campaign or ask.publisher not in ("", who.owner):
            absent()
        return Scope(publisher=who.owner or "")
    return Scope(ask.advertiser, ask.campaign, ask.publisher)
