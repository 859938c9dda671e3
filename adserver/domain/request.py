"""A decision request after normalisation: facts, not wire. Nothing here names a person in the clear."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from adserver.domain.campaign import Creative, LineItem
from adserver.domain.deals import OPEN, Market
from adserver.domain.inventory import Blocks
from adserver.domain.places import Point
from adserver.domain.properties import Properties

Mode = Literal["live", "test", "dry_run"]


Accepts = Callable[[LineItem, Creative], bool]
"""Whether whoever asks can show this creative at all."""


class FeedAsk(Struct, frozen=True):
    """Which page of which feed. ``account`` is the keyed hash that names the feed account (16 bytes)."""

    id: str
    page: int
    organic_count: int
    account: bytes
    receipt: str | None = None


class PlacementAsk(Struct, frozen=True):
    """One placement of a request. ``formats`` and ``sizes`` are empty where the request does not narrow
    them; ``floor_micros`` is the request's own; ``strict_floor`` makes it bind every priority (an
    exchange refuses any bid below its floor). ``render_within_ms`` overrides the placement's;
    ``accepts`` rules out creatives the asker cannot show; ``market``: the deals it offers."""

    id: str
    count: int = 1
    formats: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    floor_micros: int = 0
    strict_floor: bool = False
    render_within_ms: int | None = None
    feed: FeedAsk | None = None
    accepts: Accepts | None = None
    properties: dict[str, object] = {}
    market: Market = OPEN


class Request(Struct, frozen=True):
    """``facts``: dimension -> normalised values, without those of the placement. ``subject`` is whom caps
    count (the person's pseudonym, without consent the session's, or None); ``session`` the session's.
    ``seed``: 64 bits of chance, an argument so that the same inputs give the same decision (law 5).
    ``country`` and ``device``: as they are reported (``domain.provenance``)."""

    request_id: bytes
    now_ms: int
    seed: int
    publisher: str
    placements: tuple[PlacementAsk, ...]
    facts: dict[str, tuple[str, ...]]
    mode: Mode = "live"
    subject: bytes | None = None
    session: bytes | None = None
    personalised: bool = False
    minor: bool = False
    invalid_traffic: bool = False
    secure: bool = False
    blocks: Blocks = Blocks()
    repeat_key: bytes | None = None
    gdpr: bool | None = None
    properties: Properties = Properties()
    point: Point | None = None
    country: str = ""
    device: int = 0
