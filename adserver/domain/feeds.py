"""A feed account's ledger of positions: what law 1 needs to know about everything already answered.

A page is decided from the account's ``Track`` and leaves a new one behind. State keeps it, and every
receipt carries it, so an account goes on after a restart or a loss of state as if nothing had happened.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.decision import Origin, Slot
from adserver.domain.inventory import Share

Point = tuple[int, int]
"""An ad as a point of the plane: (position, ordinal); the first ad of an account has ordinal 1."""


class Placed(Struct, frozen=True, array_like=True):
    """An ad in a feed, as far as advertiser_gap and label exclusions need it."""

    position: int
    advertiser: int
    labels: tuple[str, ...] = ()
    exclude_labels: tuple[str, ...] = ()


class Track(Struct, frozen=True, array_like=True):
    """Positions 0 to ``next`` - 1 are answered, ``sponsored`` of them are ads, the last at ``last`` (-1:
    none). ``recent``: the ads within the policy's advertiser_gap of the end, oldest first;
    ``forgotten``: the latest ad that is no longer among them (-1: none). ``hull``: see ``_hull``.

    Nothing here depends on the policy except how much of ``recent`` was kept, and ``forgotten`` tells
    that: whoever needs more than is known keeps away from ``forgotten`` altogether.
    """

    next: int = 0
    sponsored: int = 0
    last: int = -1
    forgotten: int = -1
    hull: tuple[Point, ...] = ()
    recent: tuple[Placed, ...] = ()

    @property
    def organic(self) -> int:
        return self.next - self.sponsored

    def anchor(self, share: Share) -> int | None:
        """min over the ads (position s, ordinal i) of i × den - num × s; None without ads."""
        if not self.hull:
            return None
        return min(ordinal * share.den - share.num * position for position, ordinal in self.hull)

    def followed(self, placed: Sequence[Placed], organic: int, advertiser_gap: int) -> "Track":
        """The track behind a page that ends with an organic item and holds ``organic`` of them beside
        the ads ``placed`` (in order of position)."""
        end = self.next + organic + len(placed)
        first = self.sponsored + 1
        points = [(ad.position, ordinal) for ordinal, ad in enumerate(placed, first)]
        recent = (*self.recent, *placed)
        kept = sum(end - ad.position <= advertiser_gap for ad in recent)
        return Track(
            next=end,
            sponsored=self.sponsored + len(placed),
            last=placed[-1].position if placed else self.last,
            forgotten=max([self.forgotten, *(ad.position for ad in recent[: len(recent) - kept])]),
            hull=_hull([*self.hull, *points]) if points else self.hull,
            recent=recent[len(recent) - kept :],
        )

    def shortened(self, kept: int) -> "Track":
        """The same, remembering only the last ``kept`` of ``recent``: stricter, never laxer."""
        if kept >= len(self.recent):
            return self
        cut = len(self.recent) - kept
        return Track(
            self.next, self.sponsored, self.last,
            self.recent[cut - 1].position, self.hull, self.recent[cut:],
        )  # fmt: skip


def _hull(points: Iterable[Point]) -> tuple[Point, ...]:
    """The lower convex hull of points in order of position.

    The window rule asks for the minimum of i × den - num × s over all ads, and the publisher may change
    the share between two pages. A linear function has its minimum over points at a corner of their convex
    hull, here of its lower edge as num and den are positive; so the corners alone give the exact minimum
    for every share there may ever be. Ads at an even pace leave a handful of corners; n positions cannot
    have more than about n^(2/3). Beyond a bound the two neighbours closest in ordinals become one point
    right of and below both, which makes the minimum smaller, hence the law stricter, by at most their
    difference. Appending costs O(1) amortised (Andrew's monotone chain, 1979).
    """
    hull: list[Point] = []
    for point in points:
        while len(hull) > 1 and _turn(hull[-2], hull[-1], point) <= 0:
            hull.pop()
        hull.append(point)
    if len(hull) <= limits.FEED_HULL_POINTS:
        return tuple(hull)
    at = min(range(len(hull) - 1), key=lambda k: hull[k + 1][1] - hull[k][1])
    return _hull([*hull[:at], (hull[at + 1][0], hull[at][1]), *hull[at + 2 :]])


def _turn(a: Point, b: Point, c: Point) -> int:
    """Positive where the way from a over b to c turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


class Answered(Struct, frozen=True, array_like=True):
    """A page as it was answered, and the decision its ids and URLs come from."""

    slot: Slot
    origin: Origin


class Standing(Struct, frozen=True):
    """Where an account goes on: the ``track`` behind its last page, that page's receipt (the next one
    is chained to it; empty before page 0), and whether the journal here does not know of it: a receipt did,
    or another process does."""

    track: Track = Track()
    receipt: str = ""
    continued: bool = False


class Ahead(Exception):
    """The page asked for is neither answered nor next: ``expected_page`` is."""

    def __init__(self, expected_page: int) -> None:
        super().__init__(f"expected page {expected_page}")
        self.expected_page = expected_page
