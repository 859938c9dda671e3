"""The layout of a feed page: where ads may stand so that law 1 holds at every prefix and window.

Idea. Every rule says of a new ad at position p: not before some position. As p grows (only organic items
in between) each of them only relaxes, so the first open position is the maximum of a few quotients:
no search, exact integers, O(1) an ad. Let T ads stand already, the i-th at s_i, share = num/den.

* Prefix. The new ad makes T + 1 in k = p + 1 items: (T + 1) × den ≤ num × (p + 1 + head_start). The
  left side is a whole number of ads, so comparing with the share itself is comparing with its floor.
  A prefix that ends with an organic item holds the ads of a shorter one: nothing to check.
* Windows. Any window can be cut to begin and end with an ad: as many ads, fewer items, so the rule is
  stricter there. A window that ends with an older ad was checked then. One from s_i to p holds
  T + 2 - i ads in p - s_i + 1 items: (T + 2 - i - burst) × den ≤ num × (p - s_i + 1), that is
  num × (p + 1) ≥ (T + 2 - burst) × den - (i × den - num × s_i). Of all i only the least of the last
  bracket matters: the *anchor*, kept as a running minimum. The window of the new ad alone is
  (1 - burst) × den ≤ num, always true for burst ≥ 1.
* first_position and min_gap are positions outright.

What depends on the candidate (advertiser_gap, labels) is asked of each: ``admits``.

Invariant: whatever is placed, skipped or refused, each ad satisfied every rule against all items before
it; so the law holds whichever candidates there were. An ad stands before an organic item of its own
page: a page without organic items has no ads, and no page ends with one. Placing at the earliest open
position is also the most ads: delaying an ad can only delay those behind it.

Policies may change between two pages. Each new ad satisfies the policy of its own page against the whole
past (the track keeps all that is needed for any share; where an older, shorter advertiser_gap forgot who
stood where, nobody is admitted until the distance is right for everybody). What an earlier policy
allowed stays; under a stricter one no ad is placed until the whole is lawful again.
"""

from collections.abc import Collection

from adserver.domain.feeds import Placed, Track
from adserver.domain.inventory import FeedPolicy


class Layout:
    """Lays out one page: ``organic_count`` organic items and at most ``limit`` ads behind ``track``.

    ``while (position := layout.next_open()) is not None:`` place or skip; then ``finish``.
    """

    __slots__ = (
        "_anchor", "_floor", "_last", "_left", "_limit", "_open", "_organic",
        "_placed", "_policy", "_position", "_recent", "_sponsored", "_track",
    )  # fmt: skip

    def __init__(self, policy: FeedPolicy, track: Track, organic_count: int, limit: int) -> None:
        share = policy.max_share
        self._policy = policy
        self._track = track
        self._organic = self._left = organic_count
        self._limit = min(limit, policy.max_per_page)
        if share.num <= 0 or (1 - policy.max_burst) * share.den > share.num:
            self._limit = 0
        self._position = track.next
        self._sponsored = track.sponsored
        self._last = track.last
        self._anchor = track.anchor(share)
        self._floor = policy.first_position
        if track.forgotten >= 0:
            self._floor = max(self._floor, track.forgotten + policy.advertiser_gap + 1)
        self._recent = list(track.recent)
        self._placed: list[Placed] = []
        self._open = False

    @property
    def start(self) -> int:
        """The page's first position."""
        return self._track.next

    @property
    def next(self) -> int:
        """The position behind the page, once finished."""
        return self._position

    @property
    def organic(self) -> int:
        """Organic items on the page, once finished."""
        return self._organic

    @property
    def sponsored(self) -> int:
        """Ads on the page so far."""
        return len(self._placed)

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The page's ads so far, in order of position."""
        return tuple(self._placed)

    def next_open(self) -> int | None:
        """The next position, from the current one on, where an ad of *some* advertiser may stand; None
        if this page has none left. Organic items take the positions before it."""
        if len(self._placed) >= self._limit:
            self._open = False
            return None
        ahead = max(self._position, self._earliest()) - self._position
        self._open = ahead < self._left
        if not self._open:
            return None
        self._position += ahead
        self._left -= ahead
        return self._position

    def _earliest(self) -> int:
        """The first position the rules common to all candidates allow (see above)."""
        policy, ads = self._policy, self._sponsored + 1
        num, den = policy.max_share.num, policy.max_share.den
        earliest = max(self._floor, -(-ads * den // num) - 1 - policy.head_start)
        if self._anchor is not None:
            windows = -(-((ads + 1 - policy.max_burst) * den - self._anchor) // num) - 1
            earliest = max(earliest, windows, self._last + 1 + policy.min_gap)
        return earliest

    def admits(
        self, advertiser: int, labels: Collection[str] = (), exclude_labels: Collection[str] = ()
    ) -> bool:
        """Whether an ad of ``advertiser`` (serial) may stand at the open position: advertiser_gap, and
        no ad within it that excludes one of ``labels`` or bears one of ``exclude_labels``."""
        self._require_open()
        return self.free_from(advertiser, labels, exclude_labels) <= self._position

    def opens_later(
        self, advertiser: int, labels: Collection[str] = (), exclude_labels: Collection[str] = ()
    ) -> bool:
        """Whether it could be admitted behind the current position on this page, if others let it."""
        furthest = self._position + (self._left - 1) + (self._limit - len(self._placed) - 1)
        return max(self._position + 1, self.free_from(advertiser, labels, exclude_labels)) <= furthest

    def free_from(
        self, advertiser: int, labels: Collection[str] = (), exclude_labels: Collection[str] = ()
    ) -> int:
        """The first position at which none of the ads so far stands against this one (0: none does)."""
        gap = self._policy.advertiser_gap
        for ad in reversed(self._recent):
            if self._position - ad.position > gap:
                break
            if (
                ad.advertiser == advertiser
                or (exclude_labels and any(label in exclude_labels for label in ad.labels))
                or (labels and any(label in labels for label in ad.exclude_labels))
            ):
                return ad.position + gap + 1
        return 0

    def place(
        self, advertiser: int, labels: Collection[str] = (), exclude_labels: Collection[str] = ()
    ) -> int:
        """Put an ad at the open position, which is returned. It must be admitted."""
        if not self.admits(advertiser, labels, exclude_labels):
            raise ValueError("this ad may not stand here")
        position, share = self._position, self._policy.max_share
        ad = Placed(position, advertiser, tuple(sorted(labels)), tuple(sorted(exclude_labels)))
        self._placed.append(ad)
        self._recent.append(ad)
        self._sponsored += 1
        self._last = position
        anchor = self._sponsored * share.den - share.num * position
        self._anchor = anchor if self._anchor is None else min(self._anchor, anchor)
        self._position += 1
        self._open = False
        return position

    def skip(self) -> None:
        """Leave the open position to an organic item."""
        self.skip_to(self._position + 1)

    def skip_to(self, position: int) -> None:
        """Leave the open position, and those behind it before ``position``, to organic items: where every
        candidate waits for its ``free_from``, nothing between can be placed."""
        self._require_open()
        items = min(max(1, position - self._position), self._left)
        self._position += items
        self._left -= items
        self._open = False

    def finish(self) -> Track:
        """Lay out the organic items that are left. Returns the track behind the page."""
        self._position += self._left
        self._left = 0
        self._open = False
        return self._track.followed(self._placed, self._organic, self._policy.advertiser_gap)

    def _require_open(self) -> None:
        if not self._open:
            raise ValueError("no position is open: ask next_open first")
