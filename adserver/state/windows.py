"""How far back frequency counters look: as far as the journal was told, exactly."""

from msgspec import Struct

from adserver.domain.caps import BoundCap
from adserver.domain.records import LineItemTerms, counter_of


class Window(Struct, frozen=True, array_like=True):
    """The longest that was promised of a counter, and the time up to which nothing counts any more."""

    keep_ms: int
    after_ms: int = -1


class Windows:
    """By counter."""

    def __init__(self) -> None:
        self.promised: dict[str, Window] = {}

    def promise(self, terms: LineItemTerms) -> None:
        """The journal has these terms now: their caps look back so far. What had passed out of the longest
        window so far may have been forgotten, sooner or later: it does not count in a longer one (law 5)."""
        for cap in terms.caps:
            counter = counter_of(cap)
            known = self.promised.get(counter)
            if known is None:
                self.promised[counter] = Window(cap.per_ms)
            elif cap.per_ms > known.keep_ms:
                after_ms = max(known.after_ms, terms.at_ms - known.keep_ms)
                self.promised[counter] = Window(cap.per_ms, after_ms)

    def of(self, cap: BoundCap) -> tuple[int, int]:
        """(how long a time counts, the time up to which none does)."""
        known = self.promised.get(cap.counter)
        return (cap.per_ms, -1) if known is None else (min(cap.per_ms, known.keep_ms), known.after_ms)

    def keep_ms(self, counter: str) -> int:
        """0 where nothing was promised."""
        known = self.promised.get(counter)
        return 0 if known is None else known.keep_ms
