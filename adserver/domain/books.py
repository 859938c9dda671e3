"""What journal and ledger speak of: places, totals, and the refusal of a full disk."""

from collections.abc import Sequence

from msgspec import Struct


class Position(Struct, frozen=True, order=True, array_like=True):
    """A place in the journal: segment number (from 1) and byte offset within it."""

    segment: int = 1
    offset: int = 0

    @property
    def number(self) -> int:
        """The place as one number, in the same order (segments are far smaller than a tebibyte)."""
        return self.segment << 40 | self.offset


class JournalClosed(Exception):
    """There is no room for another record: paid ads stop, events are refused with 503."""


class Counts(Struct, kw_only=True):
    """What events add up to, amounts in nanos. ``free_nanos``: the worth of accepted billable events that
    found no room in a budget. Counts and ``billed_nanos`` are gross; ``invalid_*`` and ``refunded_nanos`` are
    what was reversed of them."""

    impressions: int = 0
    viewable: int = 0
    clicks: int = 0
    conversions: int = 0
    filtered: int = 0
    expired: int = 0
    billed_nanos: int = 0
    free_nanos: int = 0
    invalid_impressions: int = 0
    invalid_viewable: int = 0
    invalid_clicks: int = 0
    invalid_conversions: int = 0
    refunded_nanos: int = 0

    @property
    def invalidated(self) -> int:
        return (
            self.invalid_impressions + self.invalid_viewable + self.invalid_clicks + self.invalid_conversions
        )

    def net(self, counted: str) -> int:
        """``impressions``, ``viewable``, ``clicks`` or ``conversions`` without those found invalid later."""
        count: int = getattr(self, counted) - getattr(self, f"invalid_{counted}")
        return count


class LineItemTotals(Counts):
    """What the ledger holds of one line item; the starting point of the budgets."""

    line_item: int


def totals_of(line_item: int, numbers: Sequence[int]) -> LineItemTotals:
    """``numbers``: in the order of the fields of ``Counts``."""
    return LineItemTotals(line_item, **dict(zip(Counts.__struct_fields__, numbers, strict=True)))


class Shown(Struct, frozen=True, array_like=True):
    """What the ledger counted of one version of a creative, of a line item at a placement (serials):
    accepted events, over all days."""

    line_item: int
    placement: int
    creative: int
    impressions: int = 0
    viewable: int = 0
    clicks: int = 0
    conversions: int = 0
