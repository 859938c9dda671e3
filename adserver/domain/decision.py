"""A decision: compact and storable. Everything a publisher is answered is rendered from it alone
(plus the catalogue), so a repeated request or feed page is answered byte for byte, also after a restart.
"""

from enum import IntEnum, StrEnum
from typing import Final

from msgspec import Struct

from adserver.domain import ids


class NoFill(StrEnum):
    """Why there are fewer ads than asked for; stable codes, and labels of a metric."""

    UNKNOWN_PLACEMENT = "unknown_placement"
    NO_MATCH = "no_match"
    NO_CREATIVE = "no_creative"
    CURRENCY = "currency"
    BLOCKED = "blocked"
    NO_USER = "no_user"
    BUDGET_EXHAUSTED = "budget_exhausted"
    PACED = "paced"
    FREQUENCY_CAPPED = "frequency_capped"
    EXCLUDED = "excluded"
    BELOW_FLOOR = "below_floor"
    FEED_CAP = "feed_cap"
    INVALID_TRAFFIC = "invalid_traffic"
    RESERVATION_LIMIT = "reservation_limit"
    OVERLOADED = "overloaded"
    DISK_FULL = "disk_full"
    STATE_UNAVAILABLE = "state_unavailable"


class EventKind(IntEnum):
    FEE = 0
    """A part of a day's flat fee, which the server accrues: no tracking URL tells it."""
    IMPRESSION = 1
    VIEWABLE = 2
    CLICK = 3
    RELEASE = 4
    HIDE = 5
    REPORT = 6
    CONVERSION = 7
    """Told by advertisers, never by a tracking URL."""


UNRECORDED: Final = 0x8000
"""Added to the numbers of ads that no journal holds: house ads without a price or a cap, to crawlers or while
there is no room. So their events say themselves that there is no decision to be found."""


class Ad(Struct, frozen=True, array_like=True):
    """One winner. ``index`` numbers the ads of a request from 1 (or from ``UNRECORDED`` + 1);
    ``price_nanos`` is what the billable event (``counted.BILLED``) costs; ``hold_nanos`` what was reserved
    for it; ``rate_micros`` what the line item asked, in its pricing model's unit; ``model`` numbers the model
    (``campaign.MODELS``): both as they were decided. ``position`` is the feed's, else -1."""

    index: int
    line_item: int
    creative: int
    price_nanos: int
    hold_nanos: int
    rate_micros: int
    position: int = -1
    model: int = 0


class FeedPage(Struct, frozen=True, array_like=True):
    """What was answered for one page; with the ads' positions it is all that law 1 needs. ``receipt`` is
    the signed text; ``continued`` tells that the account went on from something the journal does not
    hold: a receipt, another process' page, or one answered while there was no room (``journalled`` False)."""

    account: bytes
    feed_id: str
    page: int
    start: int
    next: int
    organic: int
    sponsored: int
    receipt: str = ""
    continued: bool = False
    max_share: str = ""
    journalled: bool = True


class Slot(Struct, frozen=True, array_like=True):
    """The decision for one placement of the request. ``placement`` is its serial, 0 if unknown."""

    placement: int
    placement_id: str
    ads: tuple[Ad, ...] = ()
    unfilled: int = 0
    no_fill: str | None = None
    expires_ms: int = 0
    feed: FeedPage | None = None
    repeated: "Origin | None" = None
    """Of a feed page answered again: the decision that first answered it; its ids go into the URLs."""


class Origin(Struct, frozen=True, array_like=True):
    """What of a decision the URLs of its ads depend on. ``flags``: see ``tokens``."""

    request_id: bytes
    key_id: int
    flags: int
    country: str = ""
    device: int = 0


class Decision(Struct, frozen=True, array_like=True):
    """``key_id`` names the signing key of its tokens. ``mode``: 0 live, 1 test, 2 dry run.
    ``gdpr``: 0 unknown, 1 no, 2 yes. ``rates`` is the number of the learned rates it was scored with.
    ``country`` and ``device``: where and on what it was asked for (``domain.provenance``)."""

    request_id: bytes
    revision: int
    publisher: int
    slots: tuple[Slot, ...]
    mode: int = 0
    key_id: int = 0
    personalised: bool = False
    gdpr: int = 0
    rates: int = 0
    country: str = ""
    device: int = 0

    @property
    def now_ms(self) -> int:
        return ids.minted_ms(self.request_id)


def event_id(request_id: bytes, index: int) -> bytes:
    """The id of the ad number ``index`` of a request."""
    return request_id[:14] + index.to_bytes(2, "big")


def is_recorded(ident: bytes) -> bool:
    """Whether the journal holds the decision of the ad with this event id."""
    return not ident[-2] & UNRECORDED >> 8
