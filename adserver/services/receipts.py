"""Feed receipts: what a publisher keeps to prove, and to continue, what its feed was answered.

A receipt authenticates the page's feed object, the account, the ads' positions, the policy in force, the
track behind the page, and the MAC of the receipt before it. It has no expiry: an old one can only
continue the account it belongs to, from the very page it ends, under every rule of the law; refusing it
would cost the reader's place in the feed and protect nobody.
"""

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final

from adserver.domain import limits, receipts
from adserver.domain.decision import FeedPage
from adserver.domain.feeds import Placed, Standing, Track
from adserver.domain.inventory import FeedPolicy
from adserver.domain.receipts import MAC_BYTES, BadReceipt, Receipt, Rules
from adserver.domain.request import FeedAsk
from adserver.services.feedaudit import Audit, Offence

__all__ = ["BadReceipt", "Receipt", "Receipts"]

_PERSON: Final = b"feed receipt"
_SIGNED_CHARS: Final = limits.RECEIPT_CHARS * 3 // 4 - MAC_BYTES
_FIELDS: Final = frozenset({"publisher", "placement", "session", "feeds"})


class Receipts:
    """``key`` (up to 64 secret bytes) signs; receipts signed with ``former`` keys are accepted too."""

    def __init__(self, key: bytes, *former: bytes) -> None:
        self._key = key
        self._keys = (key, *former)

    def issue(
        self,
        page: FeedPage,
        placement: str,
        policy: FeedPolicy,
        placed: Sequence[Placed],
        track: Track,
        previous: str,
        decided_ms: int,
    ) -> str:
        """The receipt of a page just decided. ``placement`` is the full id, ``placed`` the page's ads,
        ``track`` what it left behind, ``previous`` the receipt of the page before ("" for page 0).
        A track too long for the text is shortened, which makes the law stricter for who continues it."""
        ads = tuple((ad.position, ad.advertiser) for ad in placed)
        rules, chained = Rules.of(policy), receipts.mac_of(previous)
        kept = len(track.recent)
        while True:
            receipt = Receipt(
                receipts.VERSION, page.account, placement, page.feed_id, page.page, page.start,
                rules, ads, track.shortened(kept), chained, decided_ms,
            )  # fmt: skip
            signed = receipts.packed(receipt)
            if len(signed) <= _SIGNED_CHARS or not kept:
                return receipts.spelled(signed, _mac(self._key, signed))
            kept //= 2

    def open(self, text: str) -> Receipt:
        """Check and read a receipt. Raises BadReceipt."""
        signed, mac = receipts.parted(text)
        if not any(compare_digest(mac, _mac(key, signed)) for key in self._keys):
            raise BadReceipt("not signed by this server")
        return receipts.unpacked(signed)

    def standing(self, ask: FeedAsk) -> Standing | None:
        """Where the asked account goes on, if its receipt is of the page before the asked one."""
        if ask.receipt is None:
            return None
        try:
            receipt = self.open(ask.receipt)
        except BadReceipt:
            return None
        if receipt.account != ask.account or receipt.feed_id != ask.id or receipt.page + 1 != ask.page:
            return None
        return Standing(receipt.track, ask.receipt, continued=True)

    def verify(self, body: dict[str, Any]) -> dict[str, Any]:
        """Audit a session's feed objects: ``{"valid", "checked", "offence"}``; ``checked`` are the pages
        found good, ``offence`` the first that is not: ``{"index", "page", "position", "rule",
        "message"}`` (``position``: of the offending ad, which ends the offending prefix; else None).
        ``body["session"]`` is the publisher's own note: receipts name accounts by a keyed hash.
        Raises ValueError for a body of another shape. About 12 µs a page: thousands belong in a thread.
        """
        placement, feeds = _shape(body)
        audit = Audit(placement)
        for index, feed in enumerate(feeds):
            try:
                receipt = self.open(feed["receipt"])
            except BadReceipt as error:
                offence: Offence | None = Offence("signature", str(error))
            else:
                offence = audit.page(feed, receipt, receipts.mac_of(feed["receipt"]))
            if offence is not None:
                return {"valid": False, "checked": index, "offence": _told(index, feed, offence)}
        return {"valid": True, "checked": len(feeds), "offence": None}


def _mac(key: bytes, signed: bytes) -> bytes:
    return blake2b(signed, digest_size=MAC_BYTES, key=key, person=_PERSON).digest()


def _told(index: int, feed: dict[str, Any], offence: Offence) -> dict[str, Any]:
    page = feed.get("page")
    return {
        "index": index,
        "page": page if type(page) is int else None,
        "position": offence.position,
        "rule": offence.rule,
        "message": offence.message,
    }


def _shape(body: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """The placement's full id and the feed objects. Raises ValueError."""
    if not isinstance(body, dict):
        raise ValueError("the body is an object")
    unknown = sorted(set(body) - _FIELDS)
    if unknown:
        raise ValueError(f"{unknown[0]}: not a field of this call")
    for name in ("publisher", "placement"):
        if not isinstance(body.get(name), str):
            raise ValueError(f"{name}: a text is required")
    if not isinstance(body.get("session"), str | None):
        raise ValueError("session: a text or nothing")
    feeds = body.get("feeds")
    if not isinstance(feeds, list) or not feeds:
        raise ValueError("feeds: a list of at least one feed object is required")
    if len(feeds) > limits.RECEIPTS_PER_VERIFICATION:
        raise ValueError(f"feeds: at most {limits.RECEIPTS_PER_VERIFICATION} at a time")
    for index, feed in enumerate(feeds):
        if not isinstance(feed, dict):
            raise ValueError(f"feeds[{index}]: a feed object is required")
        if not isinstance(feed.get("receipt"), str):
            raise ValueError(f"feeds[{index}].receipt: a text is required")
    return f"{body['publisher']}/{body['placement']}", feeds
