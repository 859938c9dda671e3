"""Records as visitors write them, made by hand: what the checks are tested with."""

from itertools import count
from pathlib import Path
from typing import Any

from loadtests import terms
from loadtests.records import Ad, Decision, Event, Page, Price, Slot

WORLD = terms.read(Path(__file__).resolve().parent / "world")
START_MS = 1_800_000_000_000
_NUMBERS = count(1)


def ad(line_item: str, placement: str, decided_ms: int = START_MS, position: int = -1, **changed: Any) -> Ad:
    """An ad of ``advertiser/campaign/line-item``, at its bid."""
    advertiser, campaign, name = line_item.split("/")
    item = next(i for i in WORLD.campaigns[f"{advertiser}/{campaign}"].line_items if i.id == name)
    model, amount = item.pricing.model, item.pricing.amount_micros
    per = 1 if model == "cpc" else 1000
    fields = {
        "event_id": f"e{next(_NUMBERS)}",
        "advertiser": advertiser,
        "campaign": campaign,
        "line_item": name,
        "creative": item.creatives[0].id,
        "expires_ms": decided_ms + WORLD.placements[f"plage/{placement}"].render_within_ms,
        "price": Price(model, amount, per, "EUR", amount // per),
        "position": position,
    }
    return Ad(**fields | changed)


def answered(placement: str, ads: list[Ad], decided_ms: int = START_MS, **asked: Any) -> Decision:
    """The call that ``ads`` were answered to, 3 ms before and 4 ms after the decision."""
    slot = Slot(placement, "digest", ads)
    fields = {"status": 200, "publisher": "plage", "user": "u-1", "session": "s-1", "slots": [slot]}
    return Decision(decided_ms - 3, decided_ms + 4, **fields | asked)


def page(
    number: int, start: int, end: int, positions: list[int], advertisers: str = "", **slot: Any
) -> Decision:
    """A page of ``plage/feed``; ``advertisers``: a letter an ad."""
    owners = advertisers or "abcdefghijklmnopqrstuvwxyz"
    ads = [
        ad("brise/capped/once", "feed", position=position, advertiser=owner)
        for position, owner in zip(positions, owners, strict=False)
    ]
    feed = Page("main", number, start, end, end - start - len(ads), len(ads), "0.08")
    return answered(
        "feed", ads, slots=[Slot("feed", **{"digest": f"{number}", "ads": ads, "page": feed} | slot)]
    )


def event(of: Ad, kind: str, at_ms: int, verdict: str = "accepted", **changed: Any) -> Event:
    """A call of a tracking URL that reached the server at ``at_ms``."""
    span = {"sent_ms": at_ms - 2, "received_ms": at_ms + 2}
    fields = {"status": 200, "kind": kind, "event_id": of.event_id, "verdict": verdict}
    return Event(**span | fields | changed)
