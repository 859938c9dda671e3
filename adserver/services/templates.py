"""What of an ad's answer never changes, as JSON: encoded once for each creative version, then only joined.

Text with macros (html, trackers) is cut at them before, too. That is the same as filling them in first and
encoding then: JSON escapes no letter of a macro and makes no new one, and what is filled in is escaped.
Templates belong to one snapshot (``world.Serving``) and go with it, so none outlives a change of what it was
made of; the next one takes over those of the very creatives it took over (``entries.Decoded``).
"""

from collections.abc import Iterable

import orjson
from msgspec import Struct

from adserver.domain.campaign import Creative
from adserver.services.macros import MacroValues, cut

Parts = tuple[bytes | str, ...]
"""JSON, and between it names of macros (text)."""


class Template(Struct, frozen=True):
    """``shown``: from the event id's end to the creative's; ``trackers``: both lists; ``cut``: the same
    two where there are macros to fill in. ``campaign``, ``line_item``, ``creative``: ids, for macros.
    ``timezone``, ``currency``: the campaign's; ``source``: what it was made of."""

    shown: bytes
    trackers: bytes
    cut: tuple[Parts, Parts] | None
    campaign: str
    line_item: str
    creative: str
    timezone: str
    source: Creative
    currency: bytes


def template_of(
    creative: Creative, advertiser: str, campaign: str, line_item: str, timezone: str, currency: str
) -> Template:
    head = {"advertiser": advertiser, "campaign": campaign, "line_item": line_item}
    body = {
        "id": creative.id,
        "format": creative.format,
        "size": creative.size,
        "advertiser_domain": creative.advertiser_domain,
        "categories": creative.categories,
        "language": creative.language,
    }
    shown = _joined(
        (
            b'",', orjson.dumps(head)[1:-1], b',"creative":', orjson.dumps(body)[:-1],
            b',"assets":', *_assets(creative.assets), b"}",
        )
    )  # fmt: skip
    trackers = _joined(
        (
            b',"impression_trackers":', *cut(orjson.dumps(creative.impression_trackers)),
            b',"viewable_trackers":', *cut(orjson.dumps(creative.viewable_trackers)),
        )
    )  # fmt: skip
    named = (campaign, line_item, creative.id, timezone, creative, encoded(currency))
    if len(shown) > 1 or len(trackers) > 1:
        return Template(b"", b"", (shown, trackers), *named)
    return Template(b"".join(_json(shown)), b"".join(_json(trackers)), None, *named)


def filled(parts: Parts, values: MacroValues) -> bytes:
    return b"".join([part if isinstance(part, bytes) else encoded(values.of(part)) for part in parts])


def _json(parts: Parts) -> list[bytes]:
    return [part for part in parts if isinstance(part, bytes)]


def encoded(text: str) -> bytes:
    """As it stands between the quotation marks of JSON."""
    return orjson.dumps(text)[1:-1]


def _assets(assets: dict[str, object]) -> Iterable[bytes | str]:
    """Of the assets only html has macros."""
    yield b"{"
    for number, (name, value) in enumerate(assets.items()):
        yield b"," if number else b""
        yield orjson.dumps(name) + b":"
        text = orjson.dumps(value)
        yield from cut(text) if name == "html" and isinstance(value, str) else (text,)
    yield b"}"


def _joined(parts: Iterable[bytes | str]) -> Parts:
    """The same with neighbouring JSON in one piece."""
    whole: list[bytes | str] = [b""]
    for part in parts:
        last = whole[-1]
        if isinstance(part, bytes) and isinstance(last, bytes):
            whole[-1] = last + part
        else:
            whole.append(part)
    return tuple(whole)
