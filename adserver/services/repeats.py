"""Request ids answered again: the same id from the same publisher within 60 s gets the same decision."""

from collections import OrderedDict

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.decision import Decision


class Repeat(Struct, frozen=True):
    """``subject``: whom the tokens of the answer name."""

    decision: Decision
    subject: bytes | None


class Repeats:
    """In order of age, so forgetting is popping from the front."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Repeat] = OrderedDict()

    def find(self, key: bytes, now_ms: int) -> Repeat | None:
        self._forget(now_ms)
        return self._kept.get(key)

    def keep(self, key: bytes, repeat: Repeat) -> None:
        self._kept[key] = repeat
        self._kept.move_to_end(key)

    def _forget(self, now_ms: int) -> None:
        kept = self._kept
        while kept:
            oldest = next(iter(kept))
            if kept[oldest].decision.now_ms + limits.REPEAT_WINDOW_MS > now_ms:
                return
            del kept[oldest]

    def dump(self) -> list[tuple[bytes, Repeat]]:
        """Oldest first, for a checkpoint."""
        return list(self._kept.items())
