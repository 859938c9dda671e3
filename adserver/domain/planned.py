"""An allocation plan as the journal holds it (``records`` has the other records)."""

from msgspec import Struct


class Planned(Struct, frozen=True, array_like=True, tag=14):
    """The plan in force from here on, of line items for which it moved: weights of draws, in thousandths
    (below 0: it hurries, its pace does not hold it back; 0: none any more; ``services.planning``), and how
    many thousandths of a bid count (0: all; ``services.bidding``). It moves no money and promises nothing:
    an input of decisions, like hints."""

    at_ms: int
    weights: tuple[tuple[int, int], ...]
    multipliers: tuple[tuple[int, int], ...] = ()
