"""What the journal holds. Each record is a pair: the *chained* part, which audits need and nobody may
change, and the *personal* part, which can be erased without breaking the chain (DESIGN, "Journal").

Encoded with MessagePack, array-like and tagged with small integers: the bytes on disk are a contract
with every later version, so fields are only ever appended, with defaults.
"""

from enum import IntEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from adserver.domain import limits
from adserver.domain.caps import IMPRESSION
from adserver.domain.conversions import Converted
from adserver.domain.decision import Decision


class Status(IntEnum):
    """The verdict on an event; DUPLICATE, INVALID and UNRECORDED are never journalled."""

    ACCEPTED = 1
    EXPIRED = 2
    FILTERED = 3
    DUPLICATE = 4
    INVALID = 5
    UNRECORDED = 6


class Unbilled(IntEnum):
    """Why an accepted event was billed nothing; 0 where it was billed or is not a billable kind."""

    NONE = 0
    OVER_BUDGET = 1
    TEST = 2
    EXPIRED = 3
    FILTERED = 4
    FREE = 5
    """The price is zero (house ads)."""
    NOT_BILLABLE = 6
    """The kind of event that this pricing model does not bill."""
    REPEATED = 7
    """A further conversion of an ad that was billed for one."""


class Decided(Struct, frozen=True, array_like=True, tag=1):
    """A decision that reserved something or answered a feed page or a request id.
    ``repeat_key``: keyed hash of (publisher, request id), 16 bytes, if it had one. ``hints``: how the line
    items left out beforehand differ from those of the record before (``engine.live``); None: in nothing."""

    decision: Decision
    repeat_key: bytes | None = None
    hints: tuple[int, ...] | None = None


class Recorded(Struct, frozen=True, array_like=True, tag=2):
    """An event: accepted, expired or filtered, once per (event id, kind). ``at_ms`` is the server's clock.
    ``billed_nanos`` is final: posting never changes it. ``unbilled`` is an ``Unbilled``.
    ``free_nanos`` is what an accepted billable event would have cost where a budget had no room for it.
    ``day`` is the decision's day in the campaign's time zone, days since 1970-01-01. ``country`` and
    ``device``: where and on what the decision was asked for (``domain.provenance``). ``conversion_nanos``:
    what a conversion of this ad costs, where that is how it was sold."""

    event_id: bytes
    kind: int
    status: int
    at_ms: int
    line_item: int
    creative: int
    placement: int
    billed_nanos: int
    unbilled: int
    day: int
    reason: str = ""
    free_nanos: int = 0
    test: bool = False
    country: str = ""
    device: int = 0
    conversion_nanos: int = 0


class Released(Struct, frozen=True, array_like=True, tag=3):
    """A publisher will not show this ad: its exposure and its hold are free again."""

    event_id: bytes
    at_ms: int
    line_item: int


class BudgetTerms(Struct, frozen=True, array_like=True):
    """One budget that binds a line item. ``account`` is ``line_item:<serial>``, ``campaign:<serial>`` or
    ``advertiser:<serial>``; ``period`` is ``lifetime``, ``day`` (it begins at midnight in ``timezone``) or
    ``prepaid`` (the limit is what was paid in)."""

    account: str
    period: str
    limit_nanos: int
    timezone: str


class CapTerms(Struct, frozen=True, array_like=True):
    """One frequency cap that binds a line item: exposures are counted under ``key``
    (``<scope>:<serial>``, or ``session:<scope>:<serial>`` for those counted per session)."""

    key: str
    limit: int
    per_ms: int
    event: str


def counter_of(cap: CapTerms) -> str:
    """The counter that it looks at (``caps.counter_key``)."""
    return cap.key if cap.event == IMPRESSION else f"{cap.key}/{cap.event}"


class LineItemTerms(Struct, frozen=True, array_like=True, tag=4):
    """What a line item promised from ``at_ms`` on: journalled before the first decision under it, so the
    laws can be audited from the journal alone. Creatives' caps stand under their scope ``creative``."""

    at_ms: int
    revision: int
    serial: int
    full_id: str
    campaign: int
    advertiser: int
    currency: str
    timezone: str
    model: str
    amount_micros: int
    caps: tuple[CapTerms, ...] = ()
    budgets: tuple[BudgetTerms, ...] = ()
    creatives: tuple[tuple[int, int], ...] = ()
    """(serial of the version, serial of the creative): exposures count under ``creative:<the latter>``."""
    click_window_ms: int = limits.CLICK_WINDOW_MS
    view_window_ms: int = limits.VIEW_WINDOW_MS
    """For how long conversions are owed to an event of now."""


class PlacementTerms(Struct, frozen=True, array_like=True, tag=5):
    """A placement's owner and what it gets; for a feed, its policy: all of law 1 (``share_num`` is 0
    without a feed)."""

    at_ms: int
    revision: int
    serial: int
    full_id: str
    publisher: int
    currency: str
    share_num: int = 0
    share_den: int = 1
    head_start: int = 0
    max_burst: int = 1
    first_position: int = 0
    min_gap: int = 0
    advertiser_gap: int = 0
    max_per_page: int = 0
    account_idle_ms: int = 0
    revenue_share_ppm: int = 1_000_000
    """What the publisher gets of each bill, in parts per million, rounded down; the operator has the rest."""


class Mark(Struct, frozen=True, array_like=True, tag=6):
    """Written behind each durable batch and at a segment's end: everything before ``durable`` (byte
    offset in this segment) was on disk, and ``chain`` is the hash chain's value there (16 bytes)."""

    durable: int
    chain: bytes
    sealed: bool = False


class Reversed(Struct, frozen=True, array_like=True, tag=7):
    """An accepted event that was found to be invalid traffic later: out of money and of learning from here
    on, and still in the gross counts. Once per (event id, kind); all but ``at_ms`` and ``reason`` is the
    event's own."""

    event_id: bytes
    kind: int
    at_ms: int
    line_item: int
    creative: int
    placement: int
    day: int
    billed_nanos: int
    reason: str
    country: str = ""
    device: int = 0


class Tallied(Struct, frozen=True, array_like=True, tag=12):
    """How often placements were asked since the last of these, ``number`` counting them from 1. A cell:
    (quarter of an hour of the decisions, placement, country, device, requests, ads asked for, ads answered).
    Once per cell and number; what is answered are the ads of live decisions in the journal."""

    at_ms: int
    number: int
    cells: tuple[tuple[int, int, str, int, int, int, int], ...]


class Planned(Struct, frozen=True, array_like=True, tag=14):
    """The plan in force from here on, of line items for which it moved: weights of draws, in thousandths
    (below 0: it hurries, its pace does not hold it back; 0: none any more; ``planning``), and how many
    thousandths of a bid count (0: all; ``bidding``). An input of decisions, like hints: no money moves."""

    at_ms: int
    weights: tuple[tuple[int, int], ...]
    multipliers: tuple[tuple[int, int], ...] = ()


class Closed(Struct, frozen=True, array_like=True, tag=11):
    """The statement of a month is closed, as everything before this record has it: if it comes to these
    ``totals`` (currency, micros), by currency; else nothing is closed. ``party``: ``advertiser:<serial>`` or
    ``publisher:<serial>``; ``month``: months since 1970-01; ``segment``, ``offset`` and ``chain``: what was
    on disk then, and the hash chain's value there (16 bytes)."""

    party: str
    month: int
    at_ms: int
    totals: tuple[tuple[str, int], ...]
    segment: int
    offset: int
    chain: bytes


class Credited(Struct, frozen=True, array_like=True, tag=10):
    """What an operator booked for an advertiser, once per (advertiser, id), whose id is the operator's;
    ``kind``: deposit, credit or make_good (``domain.credits``)."""

    id: str
    advertiser: int
    kind: str
    currency: str
    amount_micros: int
    at_ms: int
    reason: str


Record = (
    Decided
    | Recorded
    | Released
    | LineItemTerms
    | PlacementTerms
    | Mark
    | Reversed
    | Converted
    | Closed
    | Credited
    | Tallied
    | Planned
)


class Personal(Struct, frozen=True, array_like=True):
    """The erasable part. ``salt`` makes its digest in the chained part tell nothing (8 bytes).
    ``subject`` and ``session`` are pseudonyms (16 bytes). Of a decision besides, what its request said as far
    as it could matter: ``facts``, rows of the snapshot's values (``engine.vocabulary``), and ``rest``, an
    ``Asked``. Neither: an older version's record; no facts and an empty rest: it said more than is kept."""

    salt: bytes
    subject: bytes | None = None
    session: bytes | None = None
    facts: bytes | None = None
    rest: bytes | None = None


class AskedSlot(Struct, frozen=True, array_like=True):
    """What a request said of one placement beside its id. ``receipt``: only that of a feed account nobody
    else knew; ``deals``: (id, floor in micros); ``refused``: serials of the versions of creatives that were
    looked at and that whoever asked cannot show."""

    count: int
    formats: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    floor_micros: int = 0
    strict_floor: bool = False
    receipt: str | None = None
    properties: dict[str, Any] = {}
    deals: tuple[tuple[str, int], ...] = ()
    private: bool = False
    refused: tuple[int, ...] = ()


class Asked(Struct, frozen=True, array_like=True):
    """Whatever of a request does not follow from its decision and is no fact that an index knows. ``said``:
    the values of the names that the snapshot's line items look at, in their order; ``minor`` and ``secure``
    are flags; ``blocks``: advertisers, domains, categories, labels; ``slots``: of all placements, None for
    one of which nothing is said."""

    said: list[Any] | None = None
    minor: bool = False
    secure: bool = False
    blocks: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None = None
    slots: tuple[AskedSlot | None, ...] | None = None


ENCODER: Final = msgspec.msgpack.Encoder()
RECORDS: Final = msgspec.msgpack.Decoder(Record)
PERSONAL: Final = msgspec.msgpack.Decoder(Personal)
ASKED: Final = msgspec.msgpack.Decoder(Asked)
