"""What advertisers own: advertiser > campaign > line item > creative, validated and resolved.

*Resolved* means: local times are instants (milliseconds since the epoch), money is integers, values of
targeting are normalised, audiences are full ids. Serials are small integers the catalog gives once and
never again; tokens, journal and counters speak of serials, so a rename of nothing is ever needed.
"""

from typing import Final, Literal

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.targeting import Targeting

ROTATIONS: Final = ("weighted", "even", "optimise")
PRIORITIES: Final = ("sponsorship", "standard", "auction", "house")
MODELS: Final = ("cpm", "vcpm", "cpc", "cpa", "flat")
FLAT: Final = "flat"
PER_EVENT: Final = ("cpc", "cpa")
"""Sold by the event; the others by the thousand, or by the day."""
PER_THOUSAND: Final = ("cpm", "vcpm")
PERS: Final = ("day", "flight")
"""What a flat price is for."""
SCOPES: Final = ("line_item", "campaign", "advertiser", "creative")
STATUSES: Final = ("draft", "active", "paused")
FORMATS: Final = ("image", "native", "html", "video", "carousel", "canvas", "story", "message", "text")

Priority = Literal["sponsorship", "standard", "auction", "house"]
Model = Literal["cpm", "vcpm", "cpc", "cpa", "flat"]
Per = Literal["", "day", "flight"]
Rotation = Literal["weighted", "even", "optimise"]
Scope = Literal["line_item", "campaign", "advertiser", "creative"]
CappedEvent = Literal["impression", "viewable", "click"]
Pacing = Literal["even", "asap", "frontloaded", "hourly"]
Status = Literal["draft", "active", "paused"]
GoalKind = Literal["impressions", "viewable", "clicks", "conversions", "spend", "share"]


class Pricing(Struct, frozen=True, omit_defaults=True):
    """``amount_micros`` is per 1000 for cpm and vcpm, per click for cpc, per conversion for cpa; for flat
    ``per`` a day of the flight, or for all of it."""

    model: Model
    amount_micros: int
    per: Per = ""


class Budget(Struct, frozen=True, omit_defaults=True):
    """None: no limit at this level."""

    lifetime_nanos: int | None = None
    daily_nanos: int | None = None


class Goal(Struct, frozen=True, omit_defaults=True):
    """``amount``: a count, nanos for ``spend``, parts per million for ``share``."""

    kind: GoalKind
    amount: int


class FrequencyCap(Struct, frozen=True, omit_defaults=True):
    """At most ``limit`` events per person in any window (t - per_ms, t].

    ``session``: counted per session instead of per person (``per_ms`` is then the longest window).
    """

    limit: int
    per_ms: int
    scope: Scope = "line_item"
    event: CappedEvent = "impression"
    session: bool = False


class Flight(Struct, frozen=True, omit_defaults=True):
    """Start inclusive, end exclusive; None is open."""

    start_ms: int | None = None
    end_ms: int | None = None


class Creative(Struct, frozen=True, omit_defaults=True):
    """One version of a creative: ``serial`` changes with its content, so a click finds the landing page
    as it was decided; ``identity`` does not, so a cap counts on. ``size``: ``"WxH"`` or ``"fluid"``."""

    id: str
    serial: int
    identity: int
    format: str
    size: str
    advertiser_domain: str
    landing_url: str
    weight: int = 1
    status: Status = "active"
    categories: tuple[str, ...] = ()
    language: str = ""
    assets: dict[str, object] = {}
    impression_trackers: tuple[str, ...] = ()
    viewable_trackers: tuple[str, ...] = ()


class LineItem(Struct, frozen=True, omit_defaults=True):
    """What is sold. ``full_id`` is ``advertiser/campaign/line-item``. ``hours``: the weights of the 24 local
    hours of ``hourly`` pacing."""

    id: str
    full_id: str
    serial: int
    priority: Priority
    pricing: Pricing
    creatives: tuple[Creative, ...]
    targeting: Targeting
    level: int = 5
    status: Status = "active"
    flight: Flight = Flight()
    goal: Goal | None = None
    budget: Budget = Budget()
    pacing: Pacing = "asap"
    hours: tuple[int, ...] = ()
    frequency_caps: tuple[FrequencyCap, ...] = ()
    rotation: Rotation = "weighted"
    serve_without_user: bool = False
    suitable_for_minors: bool = True


class Attribution(Struct, frozen=True, omit_defaults=True):
    """For how long a click and an impression (a *view*) may be what a conversion is owed to; 0: never."""

    click_ms: int = limits.CLICK_WINDOW_MS
    view_ms: int = limits.VIEW_WINDOW_MS


class Campaign(Struct, frozen=True, omit_defaults=True):
    id: str
    advertiser: str
    serial: int
    currency: str
    timezone: str
    line_items: tuple[LineItem, ...]
    status: Status = "active"
    labels: tuple[str, ...] = ()
    exclude_labels: tuple[str, ...] = ()
    budget: Budget = Budget()
    repeat_in_request: bool = False
    attribution: Attribution = Attribution()


class Advertiser(Struct, frozen=True, omit_defaults=True):
    """An advertiser without a file of its own has only its id. ``prepaid``: it pays ahead."""

    id: str
    serial: int
    legal_name: str = ""
    currency: str = ""
    timezone: str = "UTC"
    domains: tuple[str, ...] = ()
    budget: Budget = Budget()
    prepaid: bool = False
