"""From drafts to the catalogue: compiled values get their serials.

A creative's *identity* is its campaign and id; its *version* is that, the line item it stands in and its
content as written, without weight and status (what one may turn without making another advertisement).
The text of the document is hashed, not the compiled value, so a later program finds the same version.
"""

from typing import Final, cast

import msgspec
from msgspec.structs import replace

from adserver.catalog.drafts import Draft, digest_of
from adserver.catalog.serials import Serials, Space
from adserver.domain.campaign import Advertiser, Campaign, Creative, LineItem
from adserver.domain.inventory import Audience, Placement, Publisher

Wanted = list[tuple[Space, str]]

_TURNED: Final = frozenset(("weight", "status"))


def wanted_identities(draft: Draft) -> Wanted:
    """The names of a draft that need serials, without creative versions (which need these first)."""
    if draft.kind == "rates":
        return []
    wanted: Wanted = [(draft.kind, draft.full_id)]
    if isinstance(draft.subject, Campaign):
        for line_item in draft.subject.line_items:
            wanted.append(("line_item", line_item.full_id))
            wanted += [("creative", f"{draft.full_id}/{creative.id}") for creative in line_item.creatives]
    return wanted


def wanted_versions(draft: Draft, serials: Serials) -> Wanted:
    """The names of the creative versions of a draft, once its identities have serials."""
    if not isinstance(draft.subject, Campaign):
        return []
    return [("creative_version", name) for names in _versions(draft, serials) for name in names]


def _versions(draft: Draft, serials: Serials) -> list[list[str]]:
    """The names of the creative versions, line item by line item."""
    campaign = cast(Campaign, draft.subject)
    written = cast(list[dict[str, list[dict[str, object]]]], draft.body.get("line_items") or [])
    found = []
    for line_item, body in zip(campaign.line_items, written, strict=True):
        parent = serials.of("line_item", line_item.full_id)
        names = []
        for creative, text in zip(line_item.creatives, body.get("creatives") or [], strict=True):
            identity = serials.of("creative", f"{draft.full_id}/{creative.id}")
            content = digest_of({name: value for name, value in text.items() if name not in _TURNED})
            names.append(f"{parent}/{identity}/{content}")
        found.append(names)
    return found


def link_campaign(draft: Draft, serials: Serials) -> Campaign:
    """The campaign with every serial in place; KeyError where one is not known."""
    campaign = cast(Campaign, draft.subject)
    line_items = tuple(
        _link_line_item(draft.full_id, line_item, names, serials)
        for line_item, names in zip(campaign.line_items, _versions(draft, serials), strict=True)
    )
    return replace(campaign, serial=serials.of("campaign", draft.full_id), line_items=line_items)


def _link_line_item(campaign: str, line_item: LineItem, names: list[str], serials: Serials) -> LineItem:
    creatives = tuple(
        replace(
            creative,
            serial=serials.of("creative_version", name),
            identity=serials.of("creative", f"{campaign}/{creative.id}"),
        )
        for creative, name in zip(line_item.creatives, names, strict=True)
    )
    return replace(line_item, serial=serials.of("line_item", line_item.full_id), creatives=creatives)


def link_advertiser(draft: Draft, serials: Serials) -> Advertiser:
    return replace(cast(Advertiser, draft.subject), serial=serials.of("advertiser", draft.full_id))


def link_audience(draft: Draft, serials: Serials) -> Audience:
    return replace(cast(Audience, draft.subject), serial=serials.of("audience", draft.full_id))


def link_publisher(draft: Draft, placements: list[Draft], serials: Serials) -> Publisher:
    """The publisher with its placements, in the order of their ids."""
    linked = tuple(
        replace(cast(Placement, placement.subject), serial=serials.of("placement", placement.full_id))
        for placement in sorted(placements, key=lambda placement: placement.full_id)
    )
    serial = serials.of("publisher", draft.full_id)
    return replace(cast(Publisher, draft.subject), serial=serial, placements=linked)


def pack_line_item(line_item: LineItem) -> bytes:
    """A line item as it is kept for clicks: without its creatives, which are kept one by one."""
    return _ENCODER.encode(replace(line_item, creatives=()))


def pack_creative(creative: Creative) -> bytes:
    return _ENCODER.encode(creative)


def unpack(creative: bytes, line_item: bytes) -> tuple[Creative, LineItem]:
    """A creative and the line item it stands in."""
    shown = _CREATIVES.decode(creative)
    return shown, replace(_LINE_ITEMS.decode(line_item), creatives=(shown,))


_ENCODER: Final = msgspec.msgpack.Encoder()
_CREATIVES: Final = msgspec.msgpack.Decoder(Creative)
_LINE_ITEMS: Final = msgspec.msgpack.Decoder(LineItem)
