"""How many events were marked as invalid traffic in the last hours, by reason: what a diagnosis tells beside
its samples, which these are not. An event counts once, as in the ledger. Begins anew with the process."""

from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

from adserver.domain import limits
from adserver.domain.invalid import Invalid

Of = Literal["line_item", "placement"]

_HOUR_MS: Final = 3600_000


class Marked:
    """``clock``: what hours are told by. An hour keeps at most ``limits.MARKED_PER_HOUR`` counts; what comes
    new to a full one is left to the ledger."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._hours: dict[int, Counter[tuple[Of, int, Invalid]]] = {}

    def add(self, line_item: int, placement: int, reason: Invalid) -> None:
        now = self._clock() // _HOUR_MS
        hour = self._hours.get(now)
        if hour is None:
            self._hours = {at: kept for at, kept in self._hours.items() if at >= now - limits.DIAGNOSIS_HOURS}
            hour = self._hours[now] = Counter()
        for key in (("line_item", line_item, reason), ("placement", placement, reason)):
            if key in hour or len(hour) < limits.MARKED_PER_HOUR:
                hour[key] += 1

    def of(self, what: Of, serial: int, hours: int) -> dict[str, int]:
        """By reason, of the last ``hours``, the one that is running included; those there were."""
        first = self._clock() // _HOUR_MS - hours
        found = {
            reason.value: sum(kept[what, serial, reason] for at, kept in self._hours.items() if at >= first)
            for reason in Invalid
        }
        return {reason: count for reason, count in found.items() if count}
