"""The audit of a feed account, page by page, from what was signed: law 1 recomputed from positions.

On purpose not a second use of the layout: counts and comparisons as the rules are written. Each ad is
judged by the policy of its own page, and it suffices to judge ads: a prefix or window that ends with an
organic item holds the ads of a shorter one. Windows: for each ad, (ads since the i-th) - burst must not
exceed share × (items since it) for every earlier i. The most demanding i is a running extreme, kept per
share that occurs: O(1) an ad and share, where comparing all pairs would let one call cost minutes.
"""

from typing import Any, Final

from msgspec import Struct

from adserver.domain.receipts import Receipt, Rules

_SIGNED: Final = ("id", "page", "start_position", "next_position", "organic", "sponsored", "max_share")


class Offence(Struct, frozen=True):
    """The first thing that is wrong. ``rule``: signature, altered, placement, account, chain, order,
    contiguity, positions, totals, or the policy's own names (max_share, max_burst, ...)."""

    rule: str
    message: str
    position: int | None = None


class Audit:
    """Feed it the pages of one account in order; it ends at the first offence."""

    def __init__(self, placement: str) -> None:
        self._placement = placement
        self._before: Receipt | None = None
        self._mac = b""
        self._ads: list[int] = []
        self._last_of: dict[int, int] = {}
        self._least: dict[tuple[int, int], tuple[int, int]] = {}

    def page(self, feed: dict[str, Any], receipt: Receipt, mac: bytes) -> Offence | None:
        """The offence of the next page, or None. ``mac`` is its receipt's."""
        offence = self._told(feed, receipt) or self._chained(receipt) or self._counted(receipt)
        if offence is not None:
            return offence
        for position, advertiser in receipt.ads:
            offence = self._ad(receipt.rules, position, advertiser)
            if offence is not None:
                return offence
        self._before, self._mac = receipt, mac
        return None

    def _told(self, feed: dict[str, Any], receipt: Receipt) -> Offence | None:
        signed = (
            receipt.feed_id, receipt.page, receipt.start, receipt.next,
            receipt.organic, receipt.sponsored, receipt.rules.max_share,
        )  # fmt: skip
        for name, value in zip(_SIGNED, signed, strict=True):
            told = feed.get(name)
            if type(told) is not type(value) or told != value:
                return Offence("altered", f"{name} is {told!r}, signed was {value!r}")
        if receipt.placement != self._placement:
            return Offence("placement", f"the receipt is of {receipt.placement}")
        return None

    def _chained(self, receipt: Receipt) -> Offence | None:
        before = self._before
        if before is not None and receipt.account != before.account:
            return Offence("account", "the receipt is of another account than the one before")
        page, start = (0, 0) if before is None else (before.page + 1, before.next)
        if receipt.page != page:
            return Offence("order", f"page {receipt.page} where page {page} follows")
        if receipt.previous != self._mac:
            return Offence("chain", "the receipt does not follow the one before it")
        if receipt.start != start:
            return Offence("contiguity", f"begins at {receipt.start} where {start} follows")
        return None

    def _counted(self, receipt: Receipt) -> Offence | None:
        at = receipt.start
        for position, _ in receipt.ads:
            if not at <= position < receipt.next - 1:
                return Offence("positions", "an ad stands outside its page or out of order", position)
            at = position + 1
        if len(receipt.ads) > receipt.rules.max_per_page:
            return Offence("max_per_page", f"{len(receipt.ads)} ads on a page", receipt.ads[-1][0])
        if receipt.organic < 0 or receipt.track.sponsored != len(self._ads) + len(receipt.ads):
            return Offence("totals", "the totals do not add up")
        return None

    def _ad(self, rules: Rules, position: int, advertiser: int) -> Offence | None:
        before, count = self._ads[-1] if self._ads else None, len(self._ads) + 1
        allowed = rules.num * (position + 1 + rules.head_start) // rules.den
        if count > allowed:
            return Offence(
                "max_share", f"{count} sponsored in the first {position + 1}, allowed {allowed}", position
            )
        self._ads.append(position)
        if self._bursts(rules, position):
            return Offence("max_burst", "too many in a run of items that ends here", position)
        if position < rules.first_position:
            return Offence("first_position", f"none before {rules.first_position}", position)
        if before is not None and position - before - 1 < rules.min_gap:
            return Offence("min_gap", f"{position - before - 1} items behind the ad at {before}", position)
        same = self._last_of.get(advertiser)
        if same is not None and position - same - 1 < rules.advertiser_gap:
            return Offence("advertiser_gap", f"the advertiser's last ad is at {same}", position)
        self._last_of[advertiser] = position
        return None

    def _bursts(self, rules: Rules, position: int) -> bool:
        """Whether some run from an ad (the i-th, 0-based, at s) to this newest one holds more than
        share × length + burst: (n - i - burst) × den > num × (position + 1 - s), n ads in all."""
        share = rules.num, rules.den
        least, seen = self._least.get(share, (0, 0))
        for i in range(seen, len(self._ads)):
            value = i * rules.den - rules.num * self._ads[i]
            least = value if i == 0 else min(least, value)
        n = len(self._ads)
        self._least[share] = least, n
        return (n - rules.max_burst) * rules.den - least > rules.num * (position + 1)
