"""The JSON that is answered, as types: what the documentation is generated from. The answers themselves
are encoded elsewhere (decisions from templates); the tests decode them with these."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from adserver.domain.decision import NoFill
from adserver.domain.invalid import Invalid


class FieldError(Struct, frozen=True):
    """``path``: of what is wrong, such as ``placements[0].count``; "" is the whole."""

    path: str
    message: str


class Problem(Struct, frozen=True, kw_only=True):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str = ""
    errors: list[FieldError] = []
    expected_page: int | None = None


class AnsweredCreative(Struct, frozen=True, kw_only=True):
    id: str
    format: str
    size: str | None = None
    advertiser_domain: str | None = None
    categories: list[str] = []
    language: str | None = None
    assets: dict[str, Any] = {}


class AnsweredPrice(Struct, frozen=True):
    """Only for keys that may read prices. ``rate_micros`` is per ``per`` billable events."""

    model: str
    rate_micros: int
    per: int
    currency: str
    clearing_micros: int


class AnsweredAd(Struct, frozen=True, kw_only=True):
    """Without the URLs in a dry run. ``position``: in the merged feed, of a feed placement's ads."""

    event_id: str
    advertiser: str
    campaign: str
    line_item: str
    creative: AnsweredCreative
    expires_at: str | None = None
    impression_url: str | None = None
    viewable_url: str | None = None
    click_url: str | None = None
    release_url: str | None = None
    events: dict[str, str] = {}
    impression_trackers: list[str] = []
    viewable_trackers: list[str] = []
    position: int | None = None
    price: AnsweredPrice | None = None


class AnsweredFeed(Struct, frozen=True):
    """Positions count the items of the whole merged feed, from 0."""

    id: str
    page: int
    start_position: int
    next_position: int
    organic: int
    sponsored: int
    max_share: str
    receipt: str | None


class AnsweredPlacement(Struct, frozen=True, kw_only=True):
    """``no_fill``: why there are fewer ads than asked for."""

    placement: str
    ads: list[AnsweredAd]
    unfilled: int
    no_fill: NoFill | None
    feed: AnsweredFeed | None = None


class ExplainedLineItem(Struct, frozen=True, kw_only=True):
    """``score_micros``: what ranks; ``counted_permille``: where only so much of the bid counts in the
    auction, for its budget is being spent ahead of its time. ``outcome``: won (with its creative), dropped
    (by the first ``rule``, with both sides of the comparison), or outbid (by whom, as far as the asker may
    know). ``counterfactual``: the smallest single change that would have won, ``change`` naming the place in
    the campaign file, or null and the two ``obstacles``; of the first line items of an answer that lost."""

    line_item: str
    rank: int
    score_micros: int
    counted_permille: int | None = None
    outcome: str
    creative: str | None = None
    reason: NoFill | None = None
    rule: str | None = None
    wanted: Any = None
    got: Any = None
    beaten_by: str | None = None
    beaten_by_score_micros: int | None = None
    matched_point: Any = None
    counterfactual: dict[str, Any] | None = None


class RuleCount(Struct, frozen=True):
    rule: str
    out: int


class ExplainedCounts(Struct, frozen=True):
    """Of all line items (of an advertiser's key: its own): what each rule left out, how many were left, and
    what became of those the decision walked over."""

    of: int
    steps: list[RuleCount]
    left: int
    dropped: dict[str, int]
    won: int


class ExplainedPlacement(Struct, frozen=True):
    """``line_items``: those named in ``explain_line_items``, or else at most 25: those the decision looked
    at, those that match, the best ranked; then everybody is in ``counts``. ``state_doubt``: there and true
    where this person may have seen more than was known (``--on-state-doubt serve``)."""

    placement: str
    counts: ExplainedCounts | None
    line_items: list[ExplainedLineItem]
    state_doubt: bool = False


class DecisionAnswer(Struct, frozen=True, kw_only=True):
    """One entry of ``decisions`` per placement asked for, in order."""

    request_id: str
    snapshot: str
    decisions: list[AnsweredPlacement]
    explain: list[ExplainedPlacement] | None = None


class LineItemDelivery(Struct, frozen=True, kw_only=True):
    """``impressions`` to ``conversions`` are gross; ``invalidated``: how many of these were found invalid
    later, whose price ``spend_micros`` no longer has. ``pace``: delivered over expected to date, None where
    nothing is expected."""

    id: str
    serving_status: str
    impressions: int
    viewable: int
    clicks: int
    conversions: int
    filtered: int
    expired: int
    reserved: int
    invalidated: int
    spend_micros: int
    remaining_micros: int | None
    free_micros: int
    pace: float | None = None


class DeliveryReport(Struct, frozen=True, kw_only=True):
    """At most a second old. ``remaining_micros`` is None without a budget."""

    campaign: str
    currency: str
    spend_micros: int
    remaining_micros: int | None
    free_micros: int
    serving_status: str
    line_items: list[LineItemDelivery]


class DeliveryTable(Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    """Each of ``rows`` and ``withheld`` has the metrics by name; rows what they are grouped by too (null: not
    known), and with money its ``currency``. ``withheld``: sums of so many ``rows``: those about fewer than
    ``people_min`` people, by country, device, placement or hour, or of a part of a day, and, if there are
    others, one of these; without numbers where all of a part of a day is about fewer."""

    since: str
    to: str
    timezone: str
    group_by: list[str]
    metrics: list[str]
    people_min: int
    rows: list[dict[str, Any]]
    withheld: list[dict[str, Any]]


class ReceiptOffence(Struct, frozen=True):
    """The first page that offends; ``position``: of the ad that ends the offending prefix."""

    index: int
    page: int | None
    position: int | None
    rule: str
    message: str


class ReceiptVerdict(Struct, frozen=True):
    """``checked``: how many pages were found good."""

    valid: bool
    checked: int
    offence: ReceiptOffence | None


class Listed(Struct, frozen=True):
    """A page of a collection. ``next``: what to give as ``after`` for the next page, None at the end."""

    items: list[dict[str, Any]]
    next: str | None


class Health(Struct, frozen=True):
    status: Annotated[str, Meta(examples=["ok"])]


class Loss(Struct, frozen=True):
    """``rule``: of the line item or placement that decided it."""

    reason: str
    rule: str
    count: int


class Change(Struct, frozen=True, kw_only=True):
    """The single change of a line item that would have won most often, or of a placement that would have
    filled most: of ``tried`` sampled losses (requests not filled) it ``helps`` in so many. ``change`` names
    the place in the campaign's or publisher's file; what to do there stands beside it
    (``add``, ``remove``, ``from``, ``to``, ``to_micros``)."""

    change: str
    helps: int
    tried: int


Filtered = Annotated[
    dict[Invalid, int], Meta(description=f"By reason, of those there were: {', '.join(Invalid)}.")
]


class LineItemDiagnosis(Struct, frozen=True, kw_only=True):
    """eligible = the sum of the losses + won. ``filtered``: events marked as invalid traffic, all of them and
    each once."""

    line_item: str
    eligible: int
    losses: list[Loss]
    won: int
    rendered: int
    viewable: int
    largest_losses: list[Loss]
    filtered: Filtered
    change: Change | None = None


class CampaignDiagnosis(Struct, frozen=True, kw_only=True):
    """Estimates from sampled decisions since ``since_ms`` (this server's start) at most: one request in
    ``rate`` was looked at, in the hour of the lowest rate. Counts are placements of requests."""

    campaign: str
    hours: int
    since_ms: int
    sampled_requests: int
    rate: int
    line_items: list[LineItemDiagnosis]


class PlacementDiagnosis(Struct, frozen=True, kw_only=True):
    """The same of a placement, in ads: eligible are those asked for."""

    placement: str
    hours: int
    since_ms: int
    sampled_requests: int
    rate: int
    requests: int
    eligible: int
    losses: list[Loss]
    won: int
    rendered: int
    viewable: int
    largest_losses: list[Loss]
    filtered: Filtered
    change: Change | None = None
