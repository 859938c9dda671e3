"""Line items and their creatives: one entry of ``line_items`` to domain values, serials still 0."""

from typing import Final, cast, get_args

from adserver.catalog.assets import read_assets, read_trackers
from adserver.catalog.clauses import Reference, read_targeting
from adserver.catalog.fields import Fields
from adserver.catalog.findings import choices, shown
from adserver.catalog.links import check_domain, check_url, host_of
from adserver.catalog.paces import read_pacing
from adserver.catalog.terms import (
    FLUID,
    check_category,
    check_creative_size,
    check_language,
    parse_share,
    read_budget,
)
from adserver.catalog.times import check_cap_window, read_flight
from adserver.domain import limits, money
from adserver.domain.campaign import (
    FLAT,
    FORMATS,
    MODELS,
    PERS,
    PRIORITIES,
    ROTATIONS,
    SCOPES,
    STATUSES,
    CappedEvent,
    Creative,
    FrequencyCap,
    Goal,
    GoalKind,
    LineItem,
    Model,
    Per,
    Pricing,
    Priority,
    Rotation,
    Scope,
    Status,
)
from adserver.engine.localtime import flight_days

_GOALS: Final = get_args(GoalKind)
_EVENTS: Final = get_args(CappedEvent)
_PPM: Final = 1_000_000


def read_line_item(fields: Fields, campaign: str, zone: str) -> tuple[LineItem, list[Reference]]:
    """One line item of ``campaign`` (its full id); ``zone`` is the campaign's."""
    name = fields.slug("id", required="a line item has an id")
    targeting, references = read_targeting(fields, campaign.partition("/")[0])
    priority = fields.choice("priority", PRIORITIES, "standard", required=True)
    pacing, hours = read_pacing(fields)
    line_item = LineItem(
        id=name,
        full_id=f"{campaign}/{name}",
        serial=0,
        priority=cast(Priority, priority),
        pricing=_pricing(fields),
        creatives=tuple(
            read_creative(creative)
            for creative in fields.mappings("creatives", most=limits.CREATIVES_PER_LINE_ITEM)
        ),
        targeting=targeting,
        level=fields.integer("level", 5, 1, 10),
        status=cast(Status, fields.choice("status", STATUSES, "active")),
        flight=read_flight(fields, zone),
        goal=_goal(fields, priority),
        budget=read_budget(fields),
        pacing=pacing,
        hours=hours,
        frequency_caps=tuple(
            _cap(cap) for cap in fields.mappings("frequency_caps", most=limits.CAPS_PER_LINE_ITEM)
        ),
        rotation=cast(Rotation, _chosen(fields, "rotation", ROTATIONS, ("sequential",)) or "weighted"),
        serve_without_user=fields.flag("serve_without_user", False),
        suitable_for_minors=fields.flag("suitable_for_minors", True),
    )
    fields.done()
    _check_flat(fields, line_item, zone)
    return line_item, references


def _chosen(fields: Fields, name: str, known: tuple[str, ...], reserved: tuple[str, ...]) -> str:
    """A choice some of whose values the contract reserves; the empty text if absent or wrong."""
    value = fields.take(name)
    if value in reserved:
        fields.add(name, f"{name} {shown(value)} is not built yet; it is {choices(known)}")
        return ""
    return fields.choice(name, known, "")


def _pricing(fields: Fields) -> Pricing:
    inner = fields.mapping("pricing", required='it is a model and an amount: {model: cpm, amount: "4.20"}')
    if inner is None:
        return Pricing("cpm", 0)
    model = inner.take("model")
    per = ""
    if model == FLAT:
        per = inner.choice("per", PERS, "day", required=True)
    else:
        model = inner.choice("model", MODELS, "cpm", required=True)
    amount = inner.amount("amount", required='it is a price such as "4.20"')
    inner.done()
    return Pricing(cast(Model, model), amount or 0, cast(Per, per))


def _check_flat(fields: Fields, item: LineItem, zone: str) -> None:
    """What a flat fee cannot be beside."""
    if item.pricing.model != FLAT:
        return
    flight = item.flight
    if item.priority not in ("sponsorship", "standard"):
        fields.add("pricing.model", "flat is no bid; it is sold with priority sponsorship or standard")
    if item.goal is not None and item.goal.kind == "spend":
        fields.add("goal.spend", "a flat fee is not spent by the impression; its flight or a budget ends it")
    if item.pricing.per == "flight" and (flight.start_ms is None or flight.end_ms is None):
        fields.add(
            "pricing.per", "is flight, which has no start or no end; the price is spread over its days"
        )
    elif item.pricing.per == "flight" and flight_days(flight, zone)[1] > limits.FEE_DAYS:
        fields.add("pricing.per", f"is flight, which is longer than {limits.FEE_DAYS} days")


def _goal(fields: Fields, priority: str) -> Goal | None:
    inner = fields.mapping("goal")
    if inner is None:
        return None
    given = [kind for kind in _GOALS if inner.present(kind)]
    inner.done()
    if len(given) != 1:
        inner.add("", f"names {len(given)} goals; it names one: {choices(_GOALS)}")
        return None
    kind = given[0]
    if kind == "share" and priority != "sponsorship":
        told = "use impressions, viewable, clicks, conversions or spend"
        inner.add(kind, f"a share is a goal of priority sponsorship; {told}")
    return _goal_amount(inner, kind)


def _goal_amount(inner: Fields, kind: str) -> Goal | None:
    if kind == "spend":
        micros = inner.amount(kind)
        if micros == 0:
            inner.add(kind, "is nothing; a goal is above 0")
        return Goal("spend", money.nanos(micros)) if micros else None
    if kind == "share":
        share = inner.convert(kind, None, parse_share)
        return Goal("share", share.num * _PPM // share.den) if share else None
    return Goal(cast(GoalKind, kind), inner.integer(kind, 1, 1, limits.GOAL_MAX))


def _cap(fields: Fields) -> FrequencyCap:
    limit = fields.integer("limit", 1, 1, limits.CAP_LIMIT_MAX, required=True)
    session = fields.take("per") == "session"
    per_ms = limits.CAP_PER_MS_MAX
    if not session:
        per_ms = fields.convert(
            "per", per_ms, check_cap_window, required="it is a duration such as 1d, or session"
        )
    scope = fields.choice("scope", SCOPES, "line_item")
    event = fields.choice("event", _EVENTS, "impression")
    fields.done()
    return FrequencyCap(limit, per_ms, cast(Scope, scope), cast(CappedEvent, event), session)


def read_creative(fields: Fields) -> Creative:
    """One creative; ``advertiser_domain`` defaults to the landing page's host."""
    form = fields.choice("format", FORMATS, "", required=True)
    landing = fields.convert("landing_url", "", check_url, required="a click goes somewhere")
    creative = Creative(
        id=fields.slug("id", required="a creative has an id"),
        serial=0,
        identity=0,
        format=form,
        size=fields.convert("size", FLUID, check_creative_size),
        advertiser_domain=fields.convert(
            "advertiser_domain", host_of(landing) if landing else "", check_domain
        ),
        landing_url=landing,
        weight=fields.integer("weight", 1, 1, limits.WEIGHT_MAX),
        status=cast(Status, fields.choice("status", STATUSES, "active")),
        categories=fields.values("categories", check_category),
        language=fields.convert("language", "", check_language),
        assets=read_assets(fields, form),
        impression_trackers=read_trackers(fields, "impression_trackers"),
        viewable_trackers=read_trackers(fields, "viewable_trackers"),
    )
    fields.done()
    return creative


def unique(fields: Fields, name: str, seen: dict[str, str], path: str, what: str) -> None:
    """Note that the id ``name`` at ``path`` stands elsewhere too."""
    if not name:
        return
    if name in seen:
        message = f"{what} {shown(name)} stands already at {seen[name]}; ids are unique within their campaign"
        fields.findings.add(path, message)
    else:
        seen[name] = path
