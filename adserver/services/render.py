"""Decision -> ads with their URLs. Everything comes from the decision, the creatives of its serials and the
signing key, so the same decision is rendered to the same bytes, today and after a restart. What a protocol
makes of it is its own business; ``writing`` does the same for our own, without the objects in between."""

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from adserver.domain import ids
from adserver.domain.campaign import Creative, LineItem
from adserver.domain.decision import Ad, Decision, EventKind, Origin, Slot, event_id
from adserver.domain.inventory import Placement, Publisher
from adserver.engine import localtime
from adserver.engine.snapshot import Snapshot
from adserver.services.macros import MacroValues, expand
from adserver.tokens import (
    FLAG_GDPR_NO,
    FLAG_GDPR_YES,
    FLAG_PERSONALISED,
    FLAG_TEST,
    Signer,
    Token,
)

KINDS: Final = (
    EventKind.IMPRESSION,
    EventKind.VIEWABLE,
    EventKind.CLICK,
    EventKind.RELEASE,
    EventKind.HIDE,
    EventKind.REPORT,
)
PATHS: Final = ("i", "v", "c", "r", "h", "p")
TEST: Final = 1
DRY_RUN: Final = 2


class Sold(Struct, frozen=True):
    """A creative version with what must be known of its surroundings, today and when it is long gone.
    ``timezone``, ``currency``: the campaign's."""

    creative: Creative
    line_item: LineItem
    advertiser: str
    campaign: str
    timezone: str
    currency: str = ""


FindSold = Callable[[int], Sold | None]
"""The creative version of a serial, of any time; None only for a serial that was never given."""


class Urls(Struct, frozen=True):
    impression: str
    viewable: str
    click: str
    release: str
    hide: str
    report: str


class Shown(Struct, frozen=True):
    """An ad ready to be written in some protocol."""

    ad: Ad
    event_id: bytes
    sold: Sold
    urls: Urls | None
    impression_trackers: list[str]
    viewable_trackers: list[str]
    assets: Mapping[str, object]
    expires_ms: int


class Renderer:
    """``public_url`` without a slash at its end."""

    def __init__(self, signer: Signer, public_url: str, sold: FindSold) -> None:
        self._signer = signer
        self._public_url = public_url
        self._sold = sold

    def shown(
        self, decision: Decision, slot: Slot, snapshot: Snapshot, subject: bytes | None, consent_tcf: str = ""
    ) -> list[Shown]:
        """The ads of a slot. Repeated feed pages are rendered as their first decision was."""
        origin = slot.repeated or origin_of(decision)
        view = snapshot.placements_by_serial.get(slot.placement)
        if view is None:
            return []
        live = decision.mode != DRY_RUN
        shown = []
        for ad in slot.ads:
            sold = self._sold(ad.creative)
            if sold is not None:
                args = (origin, slot, ad, sold, view.placement, view.publisher)
                shown.append(self._shown(*args, subject if live else None, live, consent_tcf))
        return shown

    def _shown(
        self, origin: Origin, slot: Slot, ad: Ad, sold: Sold, placement: Placement, publisher: Publisher,
        subject: bytes | None, live: bool, consent_tcf: str,
    ) -> Shown:  # fmt: skip
        ident = event_id(origin.request_id, ad.index)
        urls = self._urls(origin, slot, ad, sold, ident, subject) if live else None
        values = MacroValues(
            event_id=ids.encode(ident),
            timestamp_ms=ids.minted_ms(ident),
            publisher=publisher.id,
            placement=placement.id,
            campaign=sold.campaign,
            line_item=sold.line_item.id,
            creative=sold.creative.id,
            click_url=urls.click if urls else "",
            gdpr=gdpr_text(origin.flags),
            consent_tcf=consent_tcf,
        )
        creative = sold.creative
        assets: Mapping[str, object] = creative.assets
        html = assets.get("html")
        if isinstance(html, str):
            assets = {**assets, "html": expand(html, values)}
        return Shown(
            ad, ident, sold, urls,
            [expand(tracker, values) for tracker in creative.impression_trackers],
            [expand(tracker, values) for tracker in creative.viewable_trackers],
            assets, slot.expires_ms,
        )  # fmt: skip

    def _urls(
        self, origin: Origin, slot: Slot, ad: Ad, sold: Sold, ident: bytes, subject: bytes | None
    ) -> Urls:
        token = token_of(origin, slot, ad, sold.timezone, ident, subject, ids.minted_ms(ident))
        texts = self._signer.sign(token, KINDS, origin.key_id)
        base = self._public_url
        return Urls(*(f"{base}/{path}/{text}" for path, text in zip(PATHS, texts, strict=True)))


def token_of(
    origin: Origin, slot: Slot, ad: Ad, timezone: str, ident: bytes, subject: bytes | None, decided_ms: int
) -> Token:
    """What the URLs of an ad say; ``ident``: its event id, ``timezone``: the campaign's, ``decided_ms``: the
    origin's."""
    render_s, day = (slot.expires_ms - decided_ms) // 1000, localtime.day(timezone, decided_ms)
    return Token(
        ident, ad.line_item, ad.creative, slot.placement, render_s, day, ad.price_nanos, ad.model,
        origin.flags, subject, origin.country, origin.device,
    )  # fmt: skip


def flags_of(decision: Decision) -> int:
    flags = FLAG_TEST if decision.mode == TEST else 0
    flags |= FLAG_PERSONALISED if decision.personalised else 0
    return flags | (0, FLAG_GDPR_NO, FLAG_GDPR_YES)[decision.gdpr]


def origin_of(decision: Decision) -> Origin:
    """What the URLs of its ads depend on."""
    flags = flags_of(decision)
    return Origin(decision.request_id, decision.key_id, flags, decision.country, decision.device)


def gdpr_text(flags: int) -> str:
    return "1" if flags & FLAG_GDPR_YES else "0" if flags & FLAG_GDPR_NO else ""
