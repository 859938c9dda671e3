"""What publishers own: publishers, their placements and feed policies, and audiences."""

from typing import Final, Literal

from msgspec import Struct

from adserver.domain import limits

SURFACES: Final = ("feed", "page", "story", "message", "video")

Surface = Literal["feed", "page", "story", "message", "video"]


class Share(Struct, frozen=True):
    """A sponsored share as an exact fraction: ``"0.06"`` is 6/100. ``text`` is as it was written."""

    num: int
    den: int
    text: str


class FeedPolicy(Struct, frozen=True):
    """API.md, Feeds. Positions count merged items, 0-based; None of the gaps unless stated."""

    max_share: Share = Share(6, 100, "0.06")
    head_start: int = 0
    max_burst: int = 1
    first_position: int = 0
    min_gap: int = 0
    advertiser_gap: int = 0
    max_per_page: int = limits.ADS_PER_PLACEMENT
    account: Literal["session", "user"] = "session"
    account_idle_ms: int = 4 * 3600_000


class OpenRtbMedia(Struct, frozen=True):
    """Exchange impressions without a known tagid that land on this placement."""

    formats: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()


class Blocks(Struct, frozen=True):
    advertisers: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()


class Placement(Struct, frozen=True):
    id: str
    publisher: str
    serial: int
    surface: Surface
    formats: tuple[str, ...]
    sizes: tuple[str, ...] = ()
    floor_micros: int = 0
    auction: Literal["first_price", "second_price"] = "first_price"
    render_within_ms: int = limits.RENDER_WITHIN_MS
    feed: FeedPolicy | None = None
    openrtb: OpenRtbMedia | None = None

    @property
    def full_id(self) -> str:
        return f"{self.publisher}/{self.id}"


class Publisher(Struct, frozen=True):
    id: str
    serial: int
    currency: str
    kind: Literal["web", "app", "server"] = "web"
    timezone: str = "UTC"
    consent_default: Literal["denied", "granted"] = "denied"
    user_space: str = ""
    requires_key: bool = False
    origins: tuple[str, ...] = ()
    blocked: Blocks = Blocks()
    revenue_share_ppm: int = 1_000_000
    placements: tuple[Placement, ...] = ()


class Audience(Struct, frozen=True):
    """``owner`` is an advertiser or a publisher; members are pseudonyms, kept apart by the catalog."""

    id: str
    owner: str
    owner_kind: Literal["advertiser", "publisher"]
    serial: int
    user_space: str
    facets: dict[str, tuple[str, ...]] = {}

    @property
    def full_id(self) -> str:
        return f"{self.owner}/{self.id}"
