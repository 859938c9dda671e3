"""Records to build journals by hand."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec

from adserver.domain import ids
from adserver.domain.books import Position
from adserver.domain.campaign import MODELS
from adserver.domain.conversions import Converted
from adserver.domain.decision import Ad, Decision, EventKind, FeedPage, Slot, event_id
from adserver.domain.records import (
    BudgetTerms,
    CapTerms,
    Decided,
    LineItemTerms,
    Personal,
    PlacementTerms,
    Record,
    Recorded,
    Reversed,
    Status,
    Tallied,
    Unbilled,
)
from adserver.ledger import segments
from adserver.ledger.journal import Journal
from adserver.ledger.reader import Reader

NOW_MS = 1_800_000_000_000
DAY = NOW_MS // 86_400_000
PRICE = 4_200_000
EXPIRES_AFTER_MS = 900_000


def terms(
    serial: int = 1,
    budgets: tuple[BudgetTerms, ...] = (),
    caps: tuple[CapTerms, ...] = (),
    at_ms: int = NOW_MS,
    revision: int = 1,
    model: str = "cpm",
    campaign: int = 10,
    advertiser: int = 20,
) -> LineItemTerms:
    return LineItemTerms(
        at_ms, revision, serial, f"acme/summer/item-{serial}", campaign, advertiser, "EUR", "UTC", model,
        PRICE, caps, budgets, ((100 + serial, 200 + serial),),
    )  # fmt: skip


def budget(account: str, limit_nanos: int, period: str = "lifetime") -> BudgetTerms:
    return BudgetTerms(account, period, limit_nanos, "UTC")


def placement(serial: int = 7, publisher: int = 3, **policy: int) -> PlacementTerms:
    plain = PlacementTerms(NOW_MS, 1, serial, f"lumen/place-{serial}", publisher, "EUR")
    return msgspec.structs.replace(plain, **policy)


def request(number: int, at_ms: int = NOW_MS) -> bytes:
    return ids.mint(at_ms, number, 0)


def whence(request_id: bytes) -> tuple[str, int]:
    """Country and device that it was asked from."""
    return ("", "FR", "DE")[request_id[13] % 3], request_id[13] % 4


def person(number: int = 1, session: int | None = None) -> Personal:
    name = number.to_bytes(16, "big")
    return Personal(bytes(7) + b"s", name, name if session is None else session.to_bytes(16, "big"))


def decided(
    request_id: bytes,
    line_items: tuple[int, ...] = (1,),
    place: int = 7,
    mode: int = 0,
    price: int = PRICE,
    clicked: int = 0,
    converted: int = 0,
    flat: int = 0,
) -> Decided:
    """``clicked``: the line item that is sold per click, ``converted``: per conversion, ``flat``: by the day;
    the others per impression."""
    models = {clicked: "cpc", converted: "cpa", flat: "flat"}
    ads = tuple(
        Ad(
            index,
            item,
            100 + item,
            0 if item == flat else price,
            price,
            price,
            model=MODELS.index(models.get(item, "cpm")),
        )
        for index, item in enumerate(line_items, 1)
    )
    slot = Slot(place, f"place-{place}", ads, expires_ms=ids.minted_ms(request_id) + EXPIRES_AFTER_MS)
    country, device = whence(request_id)
    return Decided(Decision(request_id, 1, 3, (slot,), mode, country=country, device=device))


def page(
    request_id: bytes,
    number: int,
    start: int,
    items: int,
    ads: tuple[tuple[int, int], ...],
    account: bytes = b"account-account-",
    continued: bool = False,
    place: int = 7,
) -> Decided:
    """``ads``: (position, line item)."""
    shown = tuple(
        Ad(index, item, 100 + item, PRICE, PRICE, PRICE, position)
        for index, (position, item) in enumerate(ads, 1)
    )
    feed = FeedPage(
        account, "main", number, start, start + items, items - len(ads), len(ads), continued=continued
    )
    expires_ms = ids.minted_ms(request_id) + EXPIRES_AFTER_MS
    slot = Slot(place, f"place-{place}", shown, expires_ms=expires_ms, feed=feed)
    country, device = whence(request_id)
    return Decided(Decision(request_id, 1, 3, (slot,), country=country, device=device))


def recorded(
    request_id: bytes,
    index: int = 1,
    kind: EventKind = EventKind.IMPRESSION,
    status: Status = Status.ACCEPTED,
    line_item: int = 1,
    billed: int | None = None,
    after_ms: int = 1000,
    test: bool = False,
    place: int = 7,
    unbilled: Unbilled | None = None,
    free: int = 0,
) -> Recorded:
    """An event as the event service would record it under CPM."""
    if billed is None:
        accepted = status == Status.ACCEPTED and kind == EventKind.IMPRESSION and not test and not unbilled
        billed = PRICE if accepted else 0
    at_ms = ids.minted_ms(request_id)
    return Recorded(
        event_id(request_id, index), int(kind), int(status), at_ms + after_ms, line_item, 100 + line_item,
        place, billed, int(unbilled or Unbilled.NONE), at_ms // 86_400_000, "", free, test,
        *whence(request_id),
    )  # fmt: skip


def converted(
    number: int,
    touch: Recorded | None = None,
    billed: int = 0,
    unbilled: Unbilled = Unbilled.NONE,
    after_ms: int = 60_000,
    advertiser: int = 20,
) -> Converted:
    """One that happened so long after its touch (or ``NOW_MS``), told a minute later; ``number`` makes its
    key."""
    key, happened_ms = number.to_bytes(8, "big") * 2, (touch.at_ms if touch else NOW_MS) + after_ms
    told = Converted(key, advertiser, happened_ms + 60_000, happened_ms, "purchase", 59_000_000, "EUR")
    if touch is None:
        return told
    return msgspec.structs.replace(
        told, touch=touch.event_id, touched=touch.kind, line_item=touch.line_item, creative=touch.creative,
        placement=touch.placement, day=touch.day, billed_nanos=billed, unbilled=unbilled,
        free_nanos=PRICE if unbilled is Unbilled.OVER_BUDGET else 0,
        country=touch.country, device=touch.device,
    )  # fmt: skip


def reversed_(event: Recorded, after_ms: int = 3_600_000) -> Reversed:
    return Reversed(
        event.event_id, event.kind, event.at_ms + after_ms, event.line_item, event.creative, event.placement,
        event.day, event.billed_nanos, "a farm", event.country, event.device,
        event.unbilled == Unbilled.FLAT,
    )  # fmt: skip


def tallied(number: int, *records: Record, unanswered: int = 0) -> Tallied:
    """Of these decisions, and for each of so many more that nobody answered."""
    cells = Counter[tuple[int, int, str, int, str]]()
    for record in records:
        if isinstance(record, Decided) and record.decision.mode == 0:
            decision = record.decision
            for slot in decision.slots:
                if slot.repeated is None:
                    cell = decision.now_ms // 900_000, slot.placement, decision.country, decision.device
                    cells[*cell, "requests"] += 1 + unanswered
                    cells[*cell, "asked"] += len(slot.ads) + slot.unfilled + unanswered
                    cells[*cell, "answered"] += len(slot.ads)
    keys = sorted({cell[:4] for cell in cells})
    counts = ((*key, *(cells[*key, name] for name in ("requests", "asked", "answered"))) for key in keys)
    return Tallied(NOW_MS + 60_000 * number, number, tuple(counts))  # type: ignore[arg-type]


def contents(
    directory: Path, start: Position | None = None, until: Position | None = None
) -> list[tuple[Position, Record, Personal | None]]:
    """What a fresh reader finds."""
    with closing(Reader(directory)) as reader:
        return list(reader.read(start or Position(), until))


SMALL = segments.SEGMENT_BYTES_MIN


def write(directory: Path, count: int, segment_bytes: int = SMALL) -> list[Record]:
    """A journal of so many decisions and their events, synced now and then; what is in it."""
    journal = Journal(directory, segment_bytes)
    written: list[Record] = []
    for number in range(1, count + 1):
        for record, personal in ((decided(request(number)), person()), (recorded(request(number)), None)):
            journal.append(record, personal)
            written.append(record)
        if number % 5 == 0:
            journal.sync()
    journal.close()
    return written
