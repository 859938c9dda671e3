"""An allocation plan as the journal holds it (``records`` has the other records)."""

from msgspec import Struct


class Planned(Struct, frozen=True, array_like=True, tag=14):
    """The allocation plan in force from here on: (line item, weight) of those whose weight moved, in
    thousandths; below 0: it hurries, its pace does not hold it back; 0: it has none any more
    (``services.planning``). It moves no money and promises nothing: an input of decisions, like hints."""

    at_ms: int
    weights: tuple[tuple[int, int], ...]
