"""The rules between a request, a placement and a line item, each once.

The index answers the static and targeting rules for all line items at a time; ``drop_of_request`` the
rest for one candidate. ``first_drop`` runs all of them for one line item in the order of the decision: it
is the oracle that the index is tested against, and what explanations are made of (law 6).
"""

from collections.abc import Iterator

from msgspec import Struct

from adserver.domain import deals
from adserver.domain.campaign import Creative
from adserver.domain.decision import NoFill
from adserver.domain.exchange import Exchange
from adserver.domain.properties import Said
from adserver.domain.request import PlacementAsk, Request
from adserver.domain.targeting import Clause
from adserver.engine import checks, localtime, ranking
from adserver.engine.checks import Name
from adserver.engine.snapshot import Entry, View, blocks_creative, blocks_entry, static_drop
from adserver.engine.views import Standing
from adserver.engine.worth import Worth

Facts = dict[str, tuple[str, ...]]


class Drop(Struct, frozen=True):
    """Why a line item is out: the reason (a stable code), the rule, and both sides of the comparison."""

    reason: NoFill
    rule: str
    wanted: object = None
    got: object = None


class Context(Struct, frozen=True):
    """A placement of a request. ``common``: its facts but for those that follow from the placement alone."""

    request: Request
    ask: PlacementAsk
    view: View
    common: Facts
    worth: Worth
    auction_floor: int = 0
    other_floor: int = 0
    floored: bool = False
    """There is a floor for somebody."""
    plain: bool = False
    """Every creative that the placement takes, and nothing else, may be shown."""
    strict: bool = False
    """The request may rule out line items whose flight, creatives and bid are right."""
    speaks: bool = False
    """The placement says more than what it is: properties of its own, or a market's deals."""
    exchange: Exchange | None = None
    """What bids in other currencies are worth here on this day; None where they are not compared."""

    @property
    def facts(self) -> Facts:
        """Every fact that targeting looks at: few candidates ask for it, most are left to the index."""
        return {**self.common, **self.view.facts}

    @property
    def said(self) -> Said:
        return Said(self.facts, self.request.properties, self.ask.properties, self.request.point)

    def earns(self, entry: Entry) -> int:
        """What a thousand impressions here are expected to earn, in micros of the publisher's currency."""
        earned, exchange = self._earned(entry), self.exchange
        return earned if exchange is None else exchange.worth(earned, entry.campaign.currency)

    def score(self, entry: Entry) -> int:
        """As much of it as counts in the auction: what ranks."""
        if not self.worth.weighed:
            return self.earns(entry)
        counted, exchange = self.worth.counted(self._earned(entry), entry.position), self.exchange
        return counted if exchange is None else exchange.worth(counted, entry.campaign.currency)

    def _earned(self, entry: Entry) -> int:
        """In its own currency."""
        worth = self.worth
        if not worth.learned:
            return entry.score
        return worth.of(entry.score, entry.position, self.view.placement.serial)

    @property
    def currencies(self) -> tuple[str, ...]:
        """Of line items that may stand here, its own first."""
        return (self.view.publisher.currency,) if self.exchange is None else self.exchange.currencies

    @property
    def chunks(self) -> Standing:
        """The line items that its kind of placement can show."""
        return self.view.chunks if self.exchange is None else self.view.fit.standing(self.exchange.currencies)

    def floor(self, entry: Entry) -> int:
        """Floors bind the auction; a strict one (an exchange's) everything, and a deal has its own. Micros
        per thousand."""
        auctioned = ranking.is_auction(entry.tier)
        deal = deals.taken(entry.line_item.targeting, self.ask.market)
        if deal is None:
            return self.auction_floor if auctioned else self.other_floor
        if auctioned:
            return max(deal.floor_micros, self.view.placement.floor_micros)
        return deal.floor_micros if self.ask.strict_floor else 0

    def fits(self, entry: Entry) -> tuple[Creative, ...]:
        """The creatives that fit the placement."""
        return self.view.fits(entry.position)

    def creatives(self, entry: Entry) -> tuple[Creative, ...]:
        """Those that fit the placement and this request."""
        if self.plain:
            return self.view.fits(entry.position)
        fitting, request = self.fits(entry), self.request
        if request.blocks.domains or request.blocks.categories:
            fitting = tuple(c for c in fitting if not blocks_creative(request.blocks, c))
        if request.secure:
            fitting = tuple(c for c in fitting if is_secure(c))
        accepts = self.ask.accepts
        if accepts is not None:
            fitting = tuple(c for c in fitting if accepts(entry.line_item, c))
        return fitting


def everywhere(request: Request, zones: list[str], required: tuple[Name, ...]) -> Facts:
    """The facts of a request at all of its placements, each of which adds its own. ``required``: see
    ``View``."""
    facts = {**request.facts, **checks.majors(request.facts)}
    for zone in zones:
        facts[f"hours:{zone}"] = (str(localtime.hour_of_week(zone, request.now_ms)),)
    if required:
        facts[checks.REQUIRED] = checks.given(required, Said(facts, request.properties, {}, request.point))
    return facts


def context(
    request: Request, ask: PlacementAsk, view: View, zones: list[str], worth: Worth,
    common: Facts | None = None,
) -> Context:  # fmt: skip
    """``common``: what ``everywhere`` says, where somebody knows already."""
    facts = everywhere(request, zones, view.required) if common is None else common
    speaks = bool(ask.properties) or ask.market is not deals.OPEN
    if speaks:
        facts = {**facts, **checks.market(ask.market)}
        if view.required:
            said = Said(facts, request.properties, ask.properties, request.point)
            facts[checks.REQUIRED] = checks.given(view.required, said)
    asked, blocks = ask.floor_micros, request.blocks
    floor = max(asked, view.placement.floor_micros)
    exchanges = view.fit.exchanges
    # An exchange settles in the currency of its answer, whatever a line item is billed in.
    abroad = exchanges is not None and not ask.strict_floor
    return Context(
        request, ask, view, facts, worth,
        auction_floor=floor,
        other_floor=asked if ask.strict_floor else 0,
        floored=bool(floor or asked or ask.market.deals),
        plain=not (blocks.domains or blocks.categories or request.secure or ask.accepts),
        strict=bool(request.minor or request.invalid_traffic or blocks.advertisers or blocks.labels),
        speaks=speaks,
        exchange=exchanges.at(request.now_ms) if abroad and exchanges is not None else None,
    )  # fmt: skip


def passes_request(entry: Entry, context: Context) -> bool:
    """Whether ``drop_of_request`` drops nothing, where that is told at once: True only if so. Most requests
    block nobody and are no bot's or child's, so flight, creatives and floor are all there is to ask."""
    if context.strict or not entry.starts_ms <= context.request.now_ms < entry.ends_ms:
        return False
    if not (context.view.fits(entry.position) if context.plain else context.creatives(entry)):
        return False
    return not context.floored or context.earns(entry) >= context.floor(entry)


def drop_of_request(entry: Entry, context: Context) -> Drop | None:
    """The rules the index does not hold: exact times, blocks, floors. No rule here knows the person's
    history; caps and budgets come after."""
    request, flight = context.request, entry.line_item.flight
    if flight.start_ms is not None and request.now_ms < flight.start_ms:
        return Drop(NoFill.NO_MATCH, "flight.start", flight.start_ms, request.now_ms)
    if flight.end_ms is not None and request.now_ms >= flight.end_ms:
        return Drop(NoFill.NO_MATCH, "flight.end", flight.end_ms, request.now_ms)
    if request.minor and not entry.line_item.suitable_for_minors:
        return Drop(NoFill.NO_MATCH, "suitable_for_minors", True, False)
    if request.invalid_traffic and entry.line_item.priority != "house":
        return Drop(NoFill.INVALID_TRAFFIC, "invalid_traffic", "house", entry.line_item.priority)
    if (request.blocks.advertisers or request.blocks.labels) and blocks_entry(request.blocks, entry):
        return Drop(NoFill.BLOCKED, "block", sorted(request.blocks.advertisers | request.blocks.labels),
                    [entry.campaign.advertiser, *entry.campaign.labels])  # fmt: skip
    if not context.creatives(entry):
        return _no_creative(entry, context)
    floor = context.floor(entry)
    if floor and context.earns(entry) < floor:
        return Drop(NoFill.BELOW_FLOOR, "floor", floor, context.earns(entry))
    return None


def _no_creative(entry: Entry, context: Context) -> Drop:
    """What left none: the placement, the publisher's blocks, the request's, or its wish for https."""
    view, blocks = context.view, context.request.blocks
    fitting = view.fits(entry.position)
    if any(not blocks_creative(blocks, creative) for creative in fitting):
        return Drop(NoFill.NO_CREATIVE, "secure", "https", "http")
    if fitting:
        return Drop(NoFill.BLOCKED, "block", sorted(blocks.domains | blocks.categories), "every creative")
    if view.blocks(entry.position):
        blocks = view.publisher.blocked
        both = sorted(blocks.domains | blocks.categories)
        return Drop(NoFill.BLOCKED, "publisher.blocked", both, "every creative")
    return Drop(NoFill.NO_CREATIVE, "creatives", _offer(view), _creatives(entry))


def _offer(view: View) -> dict[str, list[str]]:
    return {"formats": sorted(view.formats), "sizes": sorted(view.sizes)}


def _creatives(entry: Entry) -> list[str]:
    return [f"{c.id}: {c.format} {c.size} {c.status}" for c in entry.line_item.creatives]


def targeting_drops(entry: Entry, context: Context) -> Iterator[Drop]:
    """The targeting dimensions that rule this line item out, in the order they are written."""
    facts = context.facts
    for name, clause in entry.clauses.items():
        values = facts.get(name, ())
        if name in checks.NARROWING:
            continue  # a part of a check below, there for the index
        if not clause.passes(values):
            yield Drop(NoFill.NO_MATCH, f"targeting.{name}", wanted(clause), list(values))
    for check in entry.checks:
        if not check.passes(context.said):
            yield Drop(NoFill.NO_MATCH, check.rule, check.wanted(), check.got(context.said))


def wanted(clause: Clause) -> dict[str, list[str]]:
    parts = {"any": clause.any, "all": clause.all, "none": clause.none}
    return {name: list(values) for name, values in parts.items() if values}


def first_drop(entry: Entry, context: Context) -> Drop | None:
    """The first rule, of all that do not depend on counters, that rules this line item out."""
    return candidate_drop(entry, context) or drop_of_request(entry, context)


def candidate_drop(entry: Entry, context: Context) -> Drop | None:
    """The first rule that keeps this line item from being a candidate at all: what the index holds."""
    static = static_drop(entry, context.view.publisher, context.currencies)
    if static == "status":
        status = f"{entry.campaign.status}/{entry.line_item.status}"
        return Drop(NoFill.NO_MATCH, "status", "active/active", status)
    if static == "currency":
        publisher, exchange = context.view.publisher, context.exchange
        if exchange is not None:
            return Drop(NoFill.CURRENCY, "rates", *exchange.lack(entry.campaign.currency))
        return Drop(NoFill.CURRENCY, "currency", publisher.currency, entry.campaign.currency)
    if static is not None:
        return Drop(NoFill.BLOCKED, static, None, [entry.campaign.advertiser, *entry.campaign.labels])
    return next(targeting_drops(entry, context), None)


def is_secure(creative: Creative) -> bool:
    """Nothing of the creative is loaded over plain http."""
    return "http://" not in repr((creative.assets, creative.impression_trackers, creative.viewable_trackers))
