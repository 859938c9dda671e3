"""What advertisers tell of: purchases behind clicks, uploaded in batches with every turn.

Each names the click its landing page was given, has an id of its own, and says when it happened. Nothing is
uploaded while nothing reaches the server; it is later.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from adserver.domain import ids, limits
from adserver.services.converting import Conversions, Fate, Outcome, Told

Hear = Callable[[Outcome, dict[str, Any]], None]


class Purchases:
    """``hear`` is told what became of each, with its ad."""

    def __init__(self, conversions: Conversions, hear: Hear) -> None:
        self._conversions = conversions
        self._hear = hear
        self._waiting: defaultdict[str, list[tuple[Told, dict[str, Any]]]] = defaultdict(list)

    def happened(self, ad: dict[str, Any], at_ms: int) -> None:
        """Whoever clicked this ad bought something."""
        told = Told(f"bought-{ad['event_id']}", happened_ms=at_ms, click=ids.decode(ad["event_id"]))
        self._waiting[ad["advertiser"]].append((told, ad))

    async def upload(self) -> int:
        """How many were told."""
        told, self._waiting = self._waiting, defaultdict(list)
        for advertiser, waiting in told.items():
            for start in range(0, len(waiting), limits.CONVERSIONS_PER_BATCH):
                batch = waiting[start : start + limits.CONVERSIONS_PER_BATCH]
                outcomes = await self._conversions.tell(advertiser, [one for one, _ in batch])
                for outcome, (_, ad) in zip(outcomes, batch, strict=True):
                    self._hear(outcome, ad)
        return sum(map(len, told.values()))


def is_owed(outcome: Outcome) -> bool:
    return outcome.fate is Fate.ATTRIBUTED
