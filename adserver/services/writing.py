"""Decision -> the JSON of ``POST /v1/decisions``.

An ad is joined from bytes: what never changes about its creative (``templates``), its id, its URLs. No object
of an ad is made on the way, and nothing is encoded twice; that is a quarter of the cost of the obvious way,
which the tests keep to compare with.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from msgspec import Struct

from adserver.domain import ids, limits
from adserver.domain.campaign import MODELS, PER_THOUSAND
from adserver.domain.changes import Unread
from adserver.domain.decision import Ad, Decision, EventKind, FeedPage, Origin, Slot, event_id
from adserver.engine.kept import Kept
from adserver.engine.snapshot import View
from adserver.services.elsewhere import Elsewhere
from adserver.services.macros import MacroValues
from adserver.services.render import DRY_RUN, KINDS, PATHS, FindSold, gdpr_text, origin_of, token_of
from adserver.services.templates import Template, encoded, filled, template_of
from adserver.services.world import Serving
from adserver.tokens import CHARS, Signer, name_of

_NAMES: Final = (
    b',"impression_url":"', b'","viewable_url":"', b'","click_url":"', b'","release_url":"',
    b'","events":{"hide":"', b'","report":"',
)  # fmt: skip
"""Of the URLs, in the order of ``KINDS``."""

_KINDS: Final = bytes(KINDS)
_FIRST: Final = b'{"event_id":"'
_CLICK: Final = KINDS.index(EventKind.CLICK)


class Asked(Struct, frozen=True):
    """What of the asking shows in an answer. ``prices``: whether the asker may see them."""

    subject: bytes | None
    prices: bool
    consent_tcf: str = ""


class Writer:
    """``public_url`` without a slash at its end."""

    def __init__(self, signer: Signer, public_url: str, sold: FindSold) -> None:
        self._signer = signer
        self._sold = sold
        self._known = Kept[int, Template](limits.TEMPLATES_KEPT)
        self._click_url = f"{public_url}/c/"
        base = encoded(public_url)
        self._urls = tuple(
            b"%b%b/%b/" % (name, base, path.encode()) for name, path in zip(_NAMES, PATHS, strict=True)
        )
        before = sum(map(len, self._urls[: _CLICK + 1])) + _CLICK * CHARS
        self._click = slice(before, before + CHARS)

    def answer(self, decision: Decision, serving: Serving, asked: Asked, explain: object = None) -> bytes:
        name = name_of(decision.request_id)
        first = _Told(origin_of(decision), decision.now_ms, decision.mode != DRY_RUN, asked)
        slots = b",".join([self._slot(slot, first, serving) for slot in decision.slots])
        return b'{"request_id":"%b","snapshot":"r%d","decisions":[%b],"explain":%b}' % (
            name.encode(), decision.revision, slots, b"null" if explain is None else orjson.dumps(explain),
        )  # fmt: skip

    def _slot(self, slot: Slot, told: "_Told", serving: Serving) -> bytes:
        view = serving.view(slot.placement) if slot.ads else None
        ads = [] if view is None else self._ads(slot, told, view, serving)
        feed = b"" if slot.feed is None else b',"feed":' + orjson.dumps(feed_object(slot.feed))
        return b'{"placement":%b,"ads":[%b],"unfilled":%d,"no_fill":%b%b}' % (
            orjson.dumps(slot.placement_id), b",".join(ads), slot.unfilled, orjson.dumps(slot.no_fill), feed,
        )  # fmt: skip

    def _ads(self, slot: Slot, told: "_Told", view: View, serving: Serving) -> list[bytes]:
        if slot.repeated is not None:
            told = told.of(slot.repeated)
        expires = b',"expires_at":"%b"' % instant(slot.expires_ms)
        ads = []
        for ad in slot.ads:
            template = serving.templates.get(ad.creative) or self._template(serving, ad.creative)
            if template is not None:
                ads.append(self._ad(slot, ad, told, view, template, expires))
        return ads

    def _ad(self, slot: Slot, ad: Ad, told: "_Told", view: View, template: Template, expires: bytes) -> bytes:
        """``expires``: the member that says when. One of a dry run is not to be shown."""
        ident, rest = event_id(told.origin.request_id, ad.index), _rest(ad, told, view, template)
        if not told.live:
            shown, _ = self._filled(template, told, view, ident, b"")
            return b"".join((_FIRST, name_of(ident).encode(), shown, rest))
        token = token_of(told.origin, slot, ad, template.timezone, ident, told.asked.subject, told.decided_ms)
        signed = token, _KINDS, told.origin.key_id, self._urls
        shown, trackers = template.shown, template.trackers
        if template.cut is not None:
            shown, trackers = self._filled(template, told, view, ident, self._signer.spell(*signed))
        return self._signer.named((_FIRST, shown, b'"}', trackers, expires, rest), *signed)

    def _filled(
        self, template: Template, told: "_Told", view: View, ident: bytes, urls: bytes
    ) -> tuple[bytes, bytes]:
        """Both texts, with the macros there are; ``urls``: what is signed, nothing in a dry run."""
        if template.cut is None:
            return template.shown, template.trackers
        values = told.values(ident, view, template, self._clicked(urls))
        shown, trackers = (filled(parts, values) for parts in template.cut)
        return shown, trackers

    def _template(self, serving: Serving, serial: int) -> Template | None:
        template = self._known.get(serial)
        try:
            sold = self._sold(serial)
        # Of a snapshot that is gone. A serial never means another version: as it was told before.
        except Elsewhere:
            if template is None:
                raise
            return template
        except Unread:
            return template
        if sold is None:
            return None
        if template is None or template.source is not sold.creative:
            owner = (sold.advertiser, sold.campaign, sold.line_item.id, sold.timezone, sold.currency)
            template = self._known.put(serial, template_of(sold.creative, *owner))
        return serving.templates.put(serial, template)

    def _clicked(self, urls: bytes) -> str:
        """The click URL; none of a dry run."""
        return self._click_url + urls[self._click].decode() if urls else ""


class _Told(Struct, frozen=True):
    """What the ads of a request have in common. ``decided_ms``: when."""

    origin: Origin
    decided_ms: int
    live: bool
    asked: Asked

    def of(self, origin: Origin) -> "_Told":
        """The same for a feed page answered again, whose ads are told as they were first."""
        return _Told(origin, ids.minted_ms(origin.request_id), self.live, self.asked)

    def values(self, ident: bytes, view: View, template: Template, click_url: str) -> MacroValues:
        return MacroValues(
            event_id=name_of(ident),
            timestamp_ms=self.decided_ms,
            publisher=view.publisher.id,
            placement=view.placement.id,
            campaign=template.campaign,
            line_item=template.line_item,
            creative=template.creative,
            click_url=click_url,
            gdpr=gdpr_text(self.origin.flags),
            consent_tcf=self.asked.consent_tcf,
        )


def instant(at_ms: int) -> bytes:
    """RFC 3339 with milliseconds."""
    return b"%b.%03dZ" % (_second(at_ms // 1000), at_ms % 1000)


@lru_cache(maxsize=64)
def _second(at_s: int) -> bytes:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def feed_object(page: FeedPage) -> dict[str, Any]:
    return {
        "id": page.feed_id,
        "page": page.page,
        "start_position": page.start,
        "next_position": page.next,
        "organic": page.organic,
        "sponsored": page.sponsored,
        "max_share": page.max_share,
        "receipt": page.receipt or None,
    }


def _rest(ad: Ad, told: _Told, view: View, template: Template) -> bytes:
    position = b',"position":%d' % ad.position if ad.position >= 0 else b""
    if not told.asked.prices:
        return position + b"}"
    return position + _price(ad, template.currency or encoded(view.publisher.currency)) + b"}"


def _price(ad: Ad, currency: bytes) -> bytes:
    """``rate_micros`` per ``per`` billable events (of flat: for its day or flight) is what is asked;
    ``clearing_micros`` what one billable
    event of this ad costs (the books keep nanos)."""
    model = MODELS[ad.model]
    return b',"price":{"model":"%b","rate_micros":%d,"per":%d,"currency":"%b","clearing_micros":%d}' % (
        model.encode(), ad.rate_micros, 1000 if model in PER_THOUSAND else 1, currency,
        ad.price_nanos // 1000,
    )  # fmt: skip
