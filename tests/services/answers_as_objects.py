"""The obvious way to write an answer: an object of everything, encoded at once. What ``services.writing``
joins from bytes must be the same."""

from datetime import UTC, datetime
from typing import Any

import orjson

from adserver.domain import ids
from adserver.domain.campaign import MODELS
from adserver.domain.decision import Ad, Decision, Slot
from adserver.engine.snapshot import Snapshot
from adserver.services.render import Renderer, Shown
from adserver.services.writing import Asked, feed_object


def answer(
    renderer: Renderer, decision: Decision, snapshot: Snapshot, asked: Asked, explain: object = None
) -> bytes:
    slots = []
    for slot in decision.slots:
        shown = renderer.shown(decision, slot, snapshot, asked.subject, asked.consent_tcf)
        slots.append(_slot(slot, shown, snapshot, asked.prices))
    return orjson.dumps(
        {
            "request_id": ids.encode(decision.request_id),
            "snapshot": f"r{decision.revision}",
            "decisions": slots,
            "explain": explain,
        }
    )


def _slot(slot: Slot, shown: list[Shown], snapshot: Snapshot, prices: bool) -> dict[str, Any]:
    view = snapshot.placements_by_serial.get(slot.placement)
    currency = view.publisher.currency if view is not None else ""
    out: dict[str, Any] = {
        "placement": slot.placement_id,
        "ads": [_ad(one, currency if prices else None) for one in shown],
        "unfilled": slot.unfilled,
        "no_fill": slot.no_fill,
    }
    if slot.feed is not None:
        out["feed"] = feed_object(slot.feed)
    return out


def _ad(shown: Shown, currency: str | None) -> dict[str, Any]:
    sold, ad, urls = shown.sold, shown.ad, shown.urls
    creative = sold.creative
    out: dict[str, Any] = {
        "event_id": ids.encode(shown.event_id),
        "advertiser": sold.advertiser,
        "campaign": sold.campaign,
        "line_item": sold.line_item.id,
        "creative": {
            "id": creative.id,
            "format": creative.format,
            "size": creative.size,
            "advertiser_domain": creative.advertiser_domain,
            "categories": creative.categories,
            "language": creative.language,
            "assets": shown.assets,
        },
    }
    if urls is not None:
        out["impression_url"] = urls.impression
        out["viewable_url"] = urls.viewable
        out["click_url"] = urls.click
        out["release_url"] = urls.release
        out["events"] = {"hide": urls.hide, "report": urls.report}
        out["impression_trackers"] = shown.impression_trackers
        out["viewable_trackers"] = shown.viewable_trackers
        out["expires_at"] = _instant(shown.expires_ms)
    if ad.position >= 0:
        out["position"] = ad.position
    if currency is not None:
        out["price"] = _price(ad, currency)
    return out


def _price(ad: Ad, currency: str) -> dict[str, Any]:
    model = MODELS[ad.model]
    return {
        "model": model,
        "rate_micros": ad.rate_micros,
        "per": 1 if model in ("cpc", "cpa") else 1000,
        "currency": currency,
        "clearing_micros": ad.price_nanos // 1000,
    }


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
