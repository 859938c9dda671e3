"""Law 3, audited: every budget followed through time.

What is billed must fit the highest limit in force at any moment from the event's decision to its posting.
That is law 3 with "a lowered budget keeps the promises already made": of all that is billed then, the last
commitment was made after that decision, and it fitted the limit of its own moment. A reversal gives money
back at its own moment. A budget whose limit never changed, which nearly all are, is judged by one running
sum; of the others each event is looked at.
"""

from bisect import bisect_right
from typing import Final

import numpy as np

from adserver.ledger.audit_books import ALL_DAYS, Heard, Tell, name_of
from adserver.ledger.audit_rows import Array, Groups

_NONE: Final = np.iinfo(np.int64).max


class Spent:
    """Money as it moved: what was billed (and by which record it was decided), and what was given back."""

    def __init__(self, events: Array, since: Array, reversals: Array, reversed_events: Array) -> None:
        back = reversals["billed"] != 0
        returned, origins = reversals[back], reversed_events[back]
        self.id = np.concatenate((events["id"], returned["id"]))
        self.kind = np.concatenate((events["kind"], returned["kind"]))
        self.nanos = np.concatenate((events["billed"], -returned["billed"]))
        self.number = np.concatenate((events["number"], returned["number"]))
        self.since = np.concatenate((since, returned["number"]))
        self.day = np.concatenate((events["day"], returned["day"]))
        self.terms = np.concatenate((events["terms"], origins["terms"]))


def check_budgets(heard: Heard, spent: Spent, tell: Tell) -> dict[tuple[str, int], int]:
    """(account, day) -> what is billed in the end; each moment that was over a limit is told."""
    found: dict[tuple[str, int], int] = {}
    versions = heard.versions
    serials = {
        "line_item": np.array([terms.serial for terms in versions], np.int64),
        "campaign": np.array([terms.campaign for terms in versions], np.int64),
        "advertiser": np.array([terms.advertiser for terms in versions], np.int64),
    }
    every_day = np.full(len(spent.day), ALL_DAYS, np.int64)
    for level, of_version in serials.items():
        serial = of_version[spent.terms] if len(versions) else np.zeros(0, np.int64)
        for period, day in (("lifetime", every_day), ("day", spent.day)):
            _Level(heard, spent, f"{level}:", period, serial, day).check(found, tell)
    return found


class _Level:
    """The accounts of one level and period. Rows in order of account and time."""

    def __init__(
        self, heard: Heard, spent: Spent, level: str, period: str, serial: Array, day: Array
    ) -> None:
        order = np.lexsort((spent.number, day, serial))
        self._level, self._period = level, period
        self._limits = heard.budgets.history
        self._spent = spent
        self._order = order
        self._groups = Groups(serial[order], day[order])
        self._running = np.cumsum(spent.nanos[order])

    def check(self, found: dict[tuple[str, int], int], tell: Tell) -> None:
        ends = [*self._groups.firsts.tolist(), len(self._order)]
        before = 0
        for (serial, day), start, end in zip(self._groups.keys, ends, ends[1:], strict=False):
            account = f"{self._level}{serial}"
            running = self._running[start:end] - before
            before = int(self._running[end - 1])
            self._check(account, day, start, running, tell)
            found[account, day] = int(running[-1])

    def _check(self, account: str, day: int, start: int, running: Array, tell: Tell) -> None:
        history = self._limits[account, self._period]
        if len(history) == 1:
            limit = history[0][1]
            if limit is None or int(running.max()) <= limit:
                return
        for at, billed in enumerate(running.tolist()):
            place = self._order[start + at]
            limit = _highest(history, int(self._spent.since[place]), int(self._spent.number[place]))
            if limit is not None and billed > limit and self._spent.nanos[place] > 0:
                ident, kind = bytes(self._spent.id[place]), int(self._spent.kind[place])
                told = self._period + ("" if day < 0 else f" {day}")
                tell(f"{name_of(ident, kind)}: {account} {told} billed {billed} of {limit} nanos")


def _highest(history: list[tuple[int, int | None]], since: int, until: int) -> int | None:
    """The highest limit in force at any time between two records; None: there was none."""
    last = bisect_right(history, until, key=lambda one: one[0])
    first = max(bisect_right(history, since, key=lambda one: one[0]) - 1, 0)
    limits = [limit for _, limit in history[first:last]]
    return None if None in limits else max((limit for limit in limits if limit is not None), default=0)
