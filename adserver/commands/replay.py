"""``adserver replay``: a journalled decision made once more, and whether it is the same, byte for byte."""

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from adserver.building.history import snapshot_at
from adserver.commands.shown import plain
from adserver.databases import Unusable
from adserver.domain import ids, money
from adserver.domain.campaign import MODELS
from adserver.domain.decision import Ad, Decision, Slot, event_id
from adserver.ledger.journals import written_in
from adserver.ledger.machines import shares
from adserver.ledger.place import place_of
from adserver.ledger.segments import Damage
from adserver.options import FAILED, Failed, Wrong
from adserver.replaying import Outcome, Replayed, Unknown
from adserver.replaying import replay as make_again

GONE: Final = 3
_CODES: Final[dict[Outcome, int]] = {"identical": 0, "differs": FAILED, "gone": GONE, "erased": GONE}
_MODES: Final = ("live", "test")


def replay(data: Path, text: str, as_json: bool, database: str = "") -> int:
    """The exit code. ``database``: the URL of the catalog's, if it is in no file. Raises Wrong, Failed."""
    try:
        minted = ids.decode(text.strip().upper())
    except ValueError as error:
        raise Wrong(f"{text} is no event id: {error}") from error
    if not written_in(data):
        raise Wrong(f"{data} is not a data folder: it has no journal")
    try:
        shared = shares(place_of(data, database))
        replayed = make_again(data, minted, partial(snapshot_at, database=database), shared)
    except Unknown as unknown:
        raise Wrong(str(unknown)) from unknown
    except Unusable as error:
        raise Failed(str(error)) from error
    except (Damage, OSError) as error:
        raise Failed(f"the journal cannot be read: {error}") from error
    told = _told(replayed)
    print(json.dumps(told, indent=2, ensure_ascii=False) if as_json else _shown(told))
    return _CODES[replayed.outcome]


def _told(replayed: Replayed) -> dict[str, Any]:
    decision = replayed.decision
    told = {
        "request_id": ids.encode(decision.request_id),
        "at_ms": decision.now_ms,
        "revision": decision.revision,
        "mode": _MODES[decision.mode],
        "placements": [_placement(decision, slot, replayed.names) for slot in decision.slots],
        "outcome": replayed.outcome,
        "digest": replayed.digest,
    }
    if replayed.reason:
        told["reason"] = replayed.reason
    if replayed.difference is not None:
        path, was, now = replayed.difference
        told["difference"] = {"at": path, "was": _plain(was), "now": _plain(now)}
    return told


def _placement(decision: Decision, slot: Slot, names: dict[int, str]) -> dict[str, Any]:
    origin = decision.request_id if slot.repeated is None else slot.repeated.request_id
    return {
        "placement": slot.placement_id,
        "ads": [_ad(origin, ad, names) for ad in slot.ads],
        "unfilled": slot.unfilled,
        "no_fill": slot.no_fill,
    }


def _ad(request_id: bytes, ad: Ad, names: dict[int, str]) -> dict[str, Any]:
    return {
        "event_id": ids.encode(event_id(request_id, ad.index)),
        "line_item": names.get(ad.line_item, f"line item {ad.line_item}"),
        "creative": ad.creative,
        "model": MODELS[ad.model],
        "price": money.format_nanos(ad.price_nanos),
    }


def _plain(value: object) -> Any:
    """As JSON knows it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _shown(told: dict[str, Any]) -> str:
    lines = [f"{told['request_id']}: revision {told['revision']}, {told['mode']}"]
    for placement in told["placements"]:
        why = f", {placement['unfilled']} unfilled: {placement['no_fill']}" if placement["no_fill"] else ""
        lines.append(f"  {plain(placement['placement'])}: {len(placement['ads'])} served{why}")
        lines += [f"    {plain(ad['line_item'])} at {ad['price']} ({ad['model']})" for ad in placement["ads"]]
    if "difference" in told:
        found = told["difference"]
        lines.append(f"  {found['at']} was {_value(found['was'])}, is now {_value(found['now'])}")
    if "reason" in told:
        lines.append(f"  {plain(told['reason'])}")
    return "\n".join([*lines, f"{told['outcome']} {told['digest']}"])


def _value(value: object) -> str:
    return plain(json.dumps(value, ensure_ascii=False))
