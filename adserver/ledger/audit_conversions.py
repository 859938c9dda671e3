"""Conversions, audited: each told once, and owed to an ad that was there to be owed to.

The ad must be the advertiser's own; its click or impression accepted before, not taken back by then, within
the window that was promised when it happened; and no ad is billed for two conversions. That it was the *last*
touch is not audited: whose touches they were stands in the erasable part of the journal. What a conversion
says of its ad and its price is judged with the events (``audit_judging``).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind
from adserver.domain.records import Status, Unbilled
from adserver.ledger.audit_books import NOBODY, Heard, Tell, name_of
from adserver.ledger.audit_rows import ID_BYTES, Array, places

_KIND: Final = int(EventKind.CONVERSION)
_TOUCHES: Final = (int(EventKind.IMPRESSION), int(EventKind.CLICK))


def ads_of(rows: Array, heard: Heard) -> Array:
    """The same rows under the ids of the ads that the conversions are owed to."""
    ads = rows.copy()
    ads["id"] = [heard.ads[bytes(row).ljust(ID_BYTES, bytes(1))] for row in rows["id"]]
    return ads


def check_conversions(heard: Heard, live: Array, reversals: Array, tell: Tell) -> dict[Any, Any]:
    """What the ledger must hold of them, by (key, kind); each offence is told. ``live``: the events that
    count, ``reversals``: those that stand."""
    found: dict[Any, Any] = {}
    touches = _touches([told for _, told in heard.conversions], live)
    gone = _gone(heard, reversals)
    billed: set[bytes] = set()
    for (number, told), touch in zip(heard.conversions, touches, strict=True):
        row = (told.advertiser, told.at_ms, told.happened_ms, told.called, told.value_micros, told.currency)
        if (told.key, _KIND) in found:
            tell(f"{name_of(told.key, _KIND)}: told twice")
            continue
        found[told.key, _KIND] = (*row, told.touch, told.touched)
        wrong = _owed(told, touch, number, heard) if told.touch else _free(told)
        if told.touch is not None and gone.get((told.touch, told.touched), number) < number:
            wrong.append("owed to what was taken back before")
        wrong += _billed_once(told, billed)
        for one in wrong:
            tell(f"{name_of(told.key, _KIND)}: {one}")
    return found


def _touches(conversions: Sequence[Converted], live: Array) -> list[Any]:
    """The event that each is owed to, None where there is none."""
    found: list[Any] = [None] * len(conversions)
    for kind in _TOUCHES if conversions else ():
        mine = [at for at, told in enumerate(conversions) if told.touch and told.touched == kind]
        events = live[live["kind"] == kind]
        wanted = np.zeros(len(mine), live.dtype)
        wanted["id"] = [conversions[at].touch for at in mine]
        where, known = places(events, wanted)
        for at, place, is_known in zip(mine, where, known, strict=True):
            found[at] = events[place] if is_known else None
    return found


def _gone(heard: Heard, reversals: Array) -> dict[tuple[bytes, int], int]:
    """(event id, kind) -> the record that took it back."""
    if not heard.conversions:
        return {}
    numbers = zip(reversals["id"], reversals["kind"].tolist(), reversals["number"].tolist(), strict=True)
    return {(bytes(ident).ljust(ID_BYTES, bytes(1)), kind): number for ident, kind, number in numbers}


def _owed(told: Converted, touch: Any, number: int, heard: Heard) -> list[str]:
    if touch is None or touch["status"] != Status.ACCEPTED or touch["test"] or touch["number"] > number:
        return ["owed to an event that was never counted"]
    wrong = []
    at_ms, version = int(touch["at_ms"]), int(touch["terms"])
    terms = heard.versions[version] if version != NOBODY else None
    if terms is not None:
        window_ms = terms.click_window_ms if told.touched == EventKind.CLICK else terms.view_window_ms
        if not at_ms <= told.happened_ms < at_ms + window_ms:
            wrong.append(f"happened {told.happened_ms - at_ms} ms after, the window is {window_ms}")
        if terms.advertiser != told.advertiser:
            wrong.append(f"told by advertiser {told.advertiser}, owed to an ad of {terms.advertiser}")
    return wrong


def _free(told: Converted) -> list[str]:
    """Owed to nobody, it speaks of no ad."""
    said = (told.touched, told.line_item, told.creative, told.placement, told.billed_nanos, told.free_nanos)
    return [f"owed to no ad, and speaks of one: {said}"] if any(said) else []


def _billed_once(told: Converted, billed: set[bytes]) -> list[str]:
    """An ad is billed for its first conversion that finds room, and ``REPEATED`` is told of others alone."""
    if told.touch is None:
        return []
    before = told.touch in billed
    if told.billed_nanos:
        billed.add(told.touch)
        return ["the ad was billed before"] if before else []
    if told.unbilled == Unbilled.REPEATED and not before:
        return ["not billed as a repeated one, though its ad was not billed before"]
    return []
