"""Until when whoever wrote a journal must have done all that was due, as its records show.

A server looks four times a second for what is due (``services.upkeep``). So whatever was due at a record that
``TURNS`` others follow, each a second or more behind the one before, has been done in between. Time that
passed is no proof: the server may have been down, and of an outage however long there is one such step.
"""

from collections import deque
from typing import Final

from adserver.domain.records import Record
from adserver.ledger.audit_walk import at_ms

TURNS: Final = 30
"""Many more than needed, should a server be short of time or of room."""
_STEP_MS: Final = 1000

Moment = tuple[int, int]
"""(number of a record, when it was written)."""


class Awake:
    """Of each journal its last steps. One that is not written to any more holds up what is told of all."""

    def __init__(self) -> None:
        self._steps: dict[int, deque[Moment]] = {}
        self._next_ms: dict[int, int] = {}

    def take(self, number: int, journal: int, record: Record) -> None:
        """The record with this number of all, from this journal."""
        now_ms = at_ms(record)
        if now_ms >= self._next_ms.get(journal, 1):
            self._next_ms[journal] = now_ms + _STEP_MS
            self._steps.setdefault(journal, deque(maxlen=TURNS + 1)).append((number, now_ms))

    def until(self) -> Moment:
        """Whatever was due before is done; (0, 0) where nothing is certain."""
        first = [steps[0] for steps in self._steps.values()]
        certain = all(len(steps) > TURNS for steps in self._steps.values())
        return (min(at for at, _ in first), min(ms for _, ms in first)) if first and certain else (0, 0)
