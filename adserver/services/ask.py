"""A decision request as it is asked: the JSON of ``POST /v1/decisions`` decodes straight into this, and
the OpenRTB adapter fills the same. Bounds are part of the types, so decoding is validation; what is
unknown is ignored (API.md, Conventions). ``services.normalise`` makes a ``domain.Request`` of it.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from adserver.domain import limits
from adserver.domain.deals import Market
from adserver.domain.request import Accepts

Slug = Annotated[str, Meta(max_length=limits.SLUG_CHARS)]
Text = Annotated[str, Meta(max_length=limits.VALUE_CHARS)]
Url = Annotated[str, Meta(max_length=limits.URL_CHARS)]
Texts = Annotated[list[Text], Meta(max_length=limits.VALUES_PER_LIST)]
Properties = Annotated[dict[Text, Any], Meta(max_length=limits.PROPERTIES_PER_OBJECT)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]


class AskedFeed(Struct, frozen=True):
    id: Annotated[str, Meta(min_length=1, max_length=limits.SLUG_CHARS)]
    page: Annotated[int, Meta(ge=0, lt=2**31)]
    organic_count: Annotated[int, Meta(ge=0, le=limits.ORGANIC_PER_PAGE)]
    receipt: Annotated[str, Meta(max_length=limits.RECEIPT_CHARS)] | None = None


class AskedPlacement(Struct, frozen=True):
    """``count`` None: 1, or for a feed page what its policy allows. ``strict_floor`` and
    ``render_within_ms`` are not on the wire (set by the OpenRTB adapter after decoding)."""

    id: Slug
    count: Annotated[int, Meta(ge=1, le=limits.ADS_PER_PLACEMENT)] | None = None
    formats: Annotated[list[Slug], Meta(max_length=20)] = []
    sizes: Annotated[list[Slug], Meta(max_length=50)] = []
    floor: Annotated[str, Meta(max_length=20)] | None = None
    properties: Properties = {}
    feed: AskedFeed | None = None


class AskedUser(Struct, frozen=True):
    id: Annotated[str, Meta(max_length=limits.VALUE_CHARS)] | None = None
    segments: Annotated[list[Text], Meta(max_length=limits.SEGMENTS_PER_REQUEST)] = []
    properties: Properties = {}
    child: bool = False
    minor: bool = False


class AskedDevice(Struct, frozen=True):
    type: Text | None = None
    os: Text | None = None
    os_version: Text | None = None
    model: Text | None = None
    browser: Text | None = None
    language: Text | None = None
    connection: Text | None = None
    user_agent: Text | None = None
    ip: Annotated[str, Meta(max_length=100)] | None = None


class AskedGeo(Struct, frozen=True):
    country: Text | None = None
    region: Text | None = None
    city: Text | None = None
    postal_code: Text | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None


class AskedPage(Struct, frozen=True):
    url: Url | None = None
    referrer: Url | None = None
    keywords: Annotated[list[Text], Meta(max_length=limits.KEYWORDS_PER_REQUEST)] = []
    categories: Texts = []
    properties: Properties = {}


class AskedBlock(Struct, frozen=True):
    advertisers: Texts = []
    domains: Texts = []
    categories: Texts = []
    labels: Texts = []


class AskedConsent(Struct, frozen=True):
    """Every signal given can only make it stricter."""

    personalised: bool | None = None
    tcf: Annotated[str, Meta(max_length=limits.URL_CHARS)] | None = None
    gpp: Annotated[str, Meta(max_length=limits.URL_CHARS)] | None = None
    gpp_sid: Annotated[list[int], Meta(max_length=100)] = []
    us_privacy: Annotated[str, Meta(max_length=100)] | None = None
    gpc: bool = False


class Ask(Struct, frozen=True, kw_only=True):
    placements: Annotated[list[AskedPlacement], Meta(min_length=1, max_length=limits.PLACEMENTS_PER_REQUEST)]
    id: Annotated[str, Meta(max_length=limits.REQUEST_ID_CHARS)] | None = None
    publisher: Slug | None = None
    mode: Literal["live", "test", "dry_run"] | None = None
    tmax_ms: Annotated[int, Meta(ge=1, le=limits.TMAX_MS)] | None = None
    user: AskedUser = AskedUser()
    session: Annotated[str, Meta(max_length=limits.VALUE_CHARS)] | None = None
    device: AskedDevice = AskedDevice()
    geo: AskedGeo = AskedGeo()
    page: AskedPage = AskedPage()
    properties: Properties = {}
    block: AskedBlock = AskedBlock()
    consent: AskedConsent = AskedConsent()
    explain: bool = False
    explain_line_items: Annotated[list[Text], Meta(max_length=limits.EXPLAINED_LINE_ITEMS)] = []
    force: dict[str, Any] | None = None


class Terms(Struct, frozen=True):
    """What an adapter knows beside the ask. ``strict_floor``: the asked floors bind every priority (an
    exchange refuses bids below its floor). ``render_within_ms``, ``accepts`` and ``markets``: per placement,
    in order. ``secure``: creatives over https only."""

    strict_floor: bool = False
    render_within_ms: tuple[int, ...] = ()
    accepts: tuple[Accepts, ...] = ()
    markets: tuple[Market, ...] = ()
    secure: bool = False
    gdpr: bool | None = None
    coppa: bool = False


DECODER: Final = msgspec.json.Decoder(Ask)


class Asker(Struct, frozen=True):
    """Who asks: the peer's address and agent as the server saw them, the role and owner of its key.
    ``read_prices``: whether the key lets it see what ads cost; ``ip_told``: the address is the end user's, as
    who may speak for them told it."""

    ip: str = ""
    user_agent: str = ""
    language: str = ""
    role: str | None = None
    owner: str | None = None
    read_prices: bool = False
    ip_told: bool = False
