"""Documents of publishers: publishers, placements with their feed policies, and audiences."""

from typing import Final, Literal, cast

from adserver.catalog.campaigns import CURRENCY
from adserver.catalog.fields import Fields, check_slug
from adserver.catalog.findings import choices, shown, suggestion
from adserver.catalog.links import check_domain, check_origin
from adserver.catalog.terms import (
    bounded,
    check_category,
    check_currency,
    check_format,
    check_label,
    check_size,
    read_portion,
    read_share,
)
from adserver.catalog.times import check_zone, duration_ms
from adserver.domain import limits
from adserver.domain.inventory import (
    SURFACES,
    Audience,
    Blocks,
    FeedPolicy,
    OpenRtbMedia,
    Placement,
    Publisher,
    Surface,
)
from adserver.domain.targeting import FACETS, normalise

_MEDIA: Final = ("banner", "native", "video")
_IDLE_USER_MS: Final = 30 * 86_400_000
_IDLE_MAX_MS: Final = 365 * 86_400_000


def read_publisher(fields: Fields) -> Publisher:
    """A publisher without its placements, which are read one by one (``read_placement``)."""
    name = fields.slug("publisher", required="it is the publisher's id")
    publisher = Publisher(
        id=name,
        serial=0,
        currency=fields.convert("currency", "", check_currency, required=CURRENCY),
        kind=cast(Literal["web", "app", "server"], fields.choice("kind", ("web", "app", "server"), "web")),
        timezone=fields.convert("timezone", "UTC", check_zone),
        consent_default="granted"
        if fields.choice("consent_default", ("denied", "granted"), "denied") == "granted"
        else "denied",
        user_space=fields.slug("user_space") or name,
        requires_key=fields.flag("requires_key", False),
        origins=fields.values("origins", check_origin),
        blocked=_blocks(fields),
        revenue_share_ppm=read_portion(fields, "revenue_share"),
    )
    fields.done()
    return publisher


def _blocks(fields: Fields) -> Blocks:
    inner = fields.mapping("blocked")
    if inner is None:
        return Blocks()
    blocks = Blocks(
        advertisers=frozenset(inner.values("advertisers", check_slug, limits.VALUES_PER_CLAUSE)),
        domains=frozenset(inner.values("domains", check_domain, limits.VALUES_PER_CLAUSE)),
        categories=frozenset(inner.values("categories", check_category)),
        labels=frozenset(inner.values("labels", check_label)),
    )
    inner.done()
    return blocks


def read_placement(fields: Fields, publisher: str) -> Placement:
    """One placement of ``publisher``."""
    surface = fields.choice("surface", SURFACES, "page", required=True)
    placement = Placement(
        id=fields.slug("id", required="a placement has an id"),
        publisher=publisher,
        serial=0,
        surface=cast(Surface, surface),
        formats=_formats(fields),
        sizes=fields.values("sizes", check_size, least=1),
        floor_micros=fields.amount("floor") or 0,
        auction="second_price"
        if fields.choice("auction", ("first_price", "second_price"), "first_price") == "second_price"
        else "first_price",
        render_within_ms=_render_within(fields, surface),
        feed=_feed(fields, surface),
        openrtb=_openrtb(fields),
    )
    fields.done()
    return placement


def _formats(fields: Fields) -> tuple[str, ...]:
    if not fields.present("formats"):
        fields.add("formats", "is missing; it is a list of what may stand here, such as [native, image]")
    return fields.values("formats", check_format, least=1)


def _render_within(fields: Fields, surface: str) -> int:
    default = limits.RENDER_WITHIN_LONG_MS if surface == "video" else limits.RENDER_WITHIN_MS
    within = fields.convert("render_within", default, duration_ms)
    if within > limits.RENDER_WITHIN_MS_MAX:
        fields.add("render_within", "is too long; an ad is rendered within 24h of its decision")
    return within


def _feed(fields: Fields, surface: str) -> FeedPolicy | None:
    inner = fields.mapping("feed")
    if surface != "feed":
        if inner is not None:
            fields.add("feed", f"is the policy of a feed, but the surface is {surface}; write surface: feed")
        return None
    if inner is None:
        return FeedPolicy()
    most = limits.FEED_RULE_MAX
    account = inner.choice("account", ("session", "user"), "session")
    default = FeedPolicy()
    policy = FeedPolicy(
        max_share=read_share(inner, "max_share", default.max_share),
        head_start=inner.integer("head_start", 0, 0, most),
        max_burst=inner.integer("max_burst", 1, 1, most),
        first_position=inner.integer("first_position", 0, 0, most),
        min_gap=inner.integer("min_gap", 0, 0, most),
        advertiser_gap=inner.integer("advertiser_gap", 0, 0, most),
        max_per_page=inner.integer("max_per_page", default.max_per_page, 1, limits.ADS_PER_PLACEMENT),
        account="user" if account == "user" else "session",
        account_idle_ms=_idle(inner, _IDLE_USER_MS if account == "user" else default.account_idle_ms),
    )
    inner.done()
    share = policy.max_share
    if policy.head_start * share.num >= share.den:
        inner.add(
            "head_start",
            f"is {policy.head_start}; it is below 1/max_share, so at most one ad is owed in advance",
        )
    return policy


def _idle(inner: Fields, default: int) -> int:
    idle = inner.convert("account_idle", default, duration_ms)
    if idle > _IDLE_MAX_MS:
        inner.add("account_idle", "is too long; an account is kept at most 365d")
    return idle


def _openrtb(fields: Fields) -> OpenRtbMedia | None:
    inner = fields.mapping("openrtb")
    if inner is None:
        return None
    formats = inner.values("formats", _medium, least=1)
    sizes = inner.values("sizes", check_size, least=1)
    inner.done()
    if not formats:
        inner.add("formats", f"is missing; it is a list of {choices(_MEDIA)}")
    return OpenRtbMedia(formats, sizes)


def _medium(text: str) -> str:
    if text not in _MEDIA:
        raise ValueError(f"{shown(text)} is not a medium; it is {choices(_MEDIA)}{suggestion(text, _MEDIA)}")
    return text


def read_audience(fields: Fields, kept: bool) -> tuple[Audience, tuple[str, ...] | None]:
    """An audience and the raw ids of its users, None where the document does not name them. ``kept``: the
    document comes from the catalog, which holds pseudonyms and a number instead."""
    name = fields.slug("audience", required="it is the audience's id")
    advertiser, publisher = fields.slug("advertiser"), fields.slug("publisher")
    if ("advertiser" in fields) == ("publisher" in fields):
        fields.add("", "belongs to one advertiser or one publisher; name one of them")
    space = fields.slug("user_space", required="" if publisher else "it says whose user ids these are")
    audience = Audience(
        id=name,
        owner=publisher or advertiser,
        owner_kind="publisher" if publisher else "advertiser",
        serial=0,
        user_space=space,
        facets=_facets(fields),
    )
    users = None
    if kept:
        fields.take("members")
    else:
        users = _users(fields) if fields.present("users") else None
        # What GET shows can be PUT back: the count is the server's, the members stay as they are.
        fields.take("members")
        if fields.present("members_file"):
            fields.add("members_file", "stands in files only; name the users")
    fields.done()
    return audience, users


def _users(fields: Fields) -> tuple[str, ...]:
    return fields.values("users", bounded(limits.VALUE_CHARS), limits.MEMBERS_PER_AUDIENCE)


def _facets(fields: Fields) -> dict[str, tuple[str, ...]]:
    inner = fields.mapping("facets")
    if inner is None:
        return {}
    found = {
        name: inner.values(name, lambda text, name=name: _facet(name, text), least=1)  # type: ignore[misc]
        for name in FACETS
        if inner.present(name)
    }
    inner.done()
    return found


def _facet(name: str, text: str) -> str:
    return normalise(f"facets.{name}", bounded(limits.VALUE_CHARS)(text))
