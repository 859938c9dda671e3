"""What visitors saw, as it is kept for the checks: one JSON object a line, one file a process.

Times are milliseconds since the epoch of this machine's clock: ``sent_ms`` rounded down, ``received_ms``
rounded up, so that what the server did in between lies within. A call that was never answered has status
0 and ``received_ms`` ``NEVER``. No import of locust here: the checks run without it.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from msgspec import Struct

NEVER: Final = 1 << 62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


class Price(Struct, frozen=True):
    """As answered: the bid per ``per`` billable events, and what one of them costs (rounded down)."""

    model: str
    rate_micros: int
    per: int
    currency: str
    clearing_micros: int


class Ad(Struct, frozen=True, omit_defaults=True):
    """``position`` -1: not in a feed."""

    event_id: str
    advertiser: str
    campaign: str
    line_item: str
    creative: str
    expires_ms: int
    price: Price | None = None
    position: int = -1

    @property
    def campaign_id(self) -> str:
        """Full id of the campaign."""
        return f"{self.advertiser}/{self.campaign}"

    @property
    def line_item_id(self) -> str:
        """Full id of the line item."""
        return f"{self.advertiser}/{self.campaign}/{self.line_item}"


class Page(Struct, frozen=True):
    """The ``feed`` object of an answer, the receipt left out."""

    id: str
    page: int
    start_position: int
    next_position: int
    organic: int
    sponsored: int
    max_share: str


class Slot(Struct, frozen=True, omit_defaults=True):
    """One placement answered. ``digest`` covers everything answered for it."""

    placement: str
    digest: str
    ads: list[Ad] = []
    no_fill: str | None = None
    page: Page | None = None


class Decision(Struct, frozen=True, omit_defaults=True, tag="decision"):
    """One call of ``POST /v1/decisions``. ``personalised`` is the signal sent (None: none was);
    ``digest`` covers the whole body answered; ``error`` is the body of a refusal."""

    sent_ms: int
    received_ms: int
    status: int
    publisher: str
    user: str | None = None
    session: str | None = None
    personalised: bool | None = None
    minor: bool = False
    request: str | None = None
    slots: list[Slot] = []
    digest: str = ""
    error: str = ""
    took_us: int = 0


class Event(Struct, frozen=True, omit_defaults=True, tag="event"):
    """One call of a tracking URL; ``kind``: impression, viewable, click or release. ``verdict`` and
    ``billed`` are the headers of the answer."""

    sent_ms: int
    received_ms: int
    status: int
    kind: str
    event_id: str
    verdict: str = ""
    billed: bool = False
    took_us: int = 0


class Change(Struct, frozen=True, omit_defaults=True, tag="change"):
    """A campaign replaced: its line items' new bids (full id -> micros per 1000, or per click). ``live_ms``:
    when the change that was put right behind it was first seen in an answer; None: never."""

    sent_ms: int
    received_ms: int
    status: int
    campaign: str
    rates: dict[str, int]
    live_ms: int | None = None
    error: str = ""


Record = Decision | Event | Change

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Record).decode


class Book:
    """Writes the records of one process to ``folder``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file: BinaryIO = (folder / f"{name}.jsonl").open("ab", buffering=1 << 18)

    def write(self, record: Record) -> None:
        self._file.write(_ENCODE(record) + b"\n")

    def close(self) -> None:
        self._file.close()


class Seen(Struct):
    """Everything that was recorded, in order of sending."""

    decisions: list[Decision] = []
    events: list[Event] = []
    changes: list[Change] = []


def gathered(records: Iterable[Record]) -> Seen:
    seen = Seen([], [], [])
    for record in sorted(records, key=lambda record: record.sent_ms):
        if isinstance(record, Decision):
            seen.decisions.append(record)
        elif isinstance(record, Event):
            seen.events.append(record)
        else:
            seen.changes.append(record)
    return seen


def read(folder: Path) -> Seen:
    """The records of all processes. Raises msgspec.MsgspecError for a torn line."""
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines())
    return gathered(map(_DECODE, lines))


def slots_of(answer: Any) -> list[Slot]:
    """The slots of a decoded answer of ``POST /v1/decisions``."""
    return [_slot(entry) for entry in answer["decisions"]]


def _slot(entry: Any) -> Slot:
    feed = entry.get("feed")
    page = msgspec.convert(feed, Page) if feed is not None else None
    ads = [_ad(ad) for ad in entry["ads"]]
    return Slot(entry["placement"], digest(entry), ads, entry["no_fill"], page)


def _ad(ad: Any) -> Ad:
    price = ad.get("price")
    return Ad(
        event_id=ad["event_id"],
        advertiser=ad["advertiser"],
        campaign=ad["campaign"],
        line_item=ad["line_item"],
        creative=ad["creative"]["id"],
        expires_ms=instant_ms(ad["expires_at"]) if "expires_at" in ad else 0,
        price=msgspec.convert(price, Price) if price is not None else None,
        position=ad.get("position", -1),
    )


def digest(value: Any) -> str:
    """A short hash of a JSON value (or of bytes as they are)."""
    content = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return blake2b(content, digest_size=9).hexdigest()


def instant_ms(text: str) -> int:
    """RFC 3339 -> milliseconds since the epoch."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MS


def now_ms() -> int:
    """Now, rounded down."""
    return time.time_ns() // 1_000_000


def now_ms_up() -> int:
    """Now, rounded up."""
    return -(-time.time_ns() // 1_000_000)
