"""Hot state in this process: admission as a plain function call. One event loop, no await inside, so a
thousand concurrent requests of one person are admitted one after the other.
"""

from collections.abc import Iterable
from functools import partial

from adserver.domain import limits
from adserver.domain.admission import C, Full, Granted, Slate
from adserver.domain.caps import BoundCap
from adserver.state.exposure import Exposure
from adserver.state.frequency import Exposures


class MemoryState(Exposures):
    """Exposures, and the one step that grants them."""

    def admit(
        self, subject: bytes | None, session: bytes | None, slates: Iterable[Slate[C]], now_ms: int
    ) -> None:
        """Fill the slates in order, first that passes first. Each grant is counted before the next is
        looked at, so caps hold across the placements of one request too."""
        self.sweep(now_ms)
        full = partial(self.full, subject=subject, session=session, now_ms=now_ms)
        outstanding = self._outstanding.get  # of nobody there is none
        for slate in slates:
            while slate.open():
                if outstanding(subject, 0) >= limits.OUTSTANDING_PER_PERSON:
                    slate.limited()
                elif not self._fill(slate, full, subject, session):
                    slate.leave()

    def _fill(self, slate: Slate[C], full: Full, subject: bytes | None, session: bytes | None) -> bool:
        for candidate in slate.remaining():
            cap = _first_full(candidate.caps, full) if candidate.caps else None
            if cap is not None:
                slate.capped(candidate, cap)
                continue
            granted = slate.take(candidate, full)
            if granted is not None:
                self.give(
                    granted,
                    Exposure(subject, session, granted.counts, granted.expires_ms, granted.kept_ms),
                )
                return True
        return False

    def give(self, granted: Granted, exposure: Exposure) -> None:
        """What a slate took."""
        self.grant(granted.event_id, exposure)


def _first_full(caps: tuple[BoundCap, ...], full: Full) -> BoundCap | None:
    for cap in caps:
        if full(cap):
            return cap
    return None
