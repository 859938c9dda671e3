"""The limits of budgets through time, as audits follow them."""

from collections.abc import Iterator

from adserver.domain import limits
from adserver.domain.records import Record
from adserver.ledger.audit_walk import at_ms

Budget = tuple[str, str]
"""(account, period)."""


class Limits:
    """``history``: of each, (number of the record that told it, limit). ``shared``: by several processes, of
    which each hears of a lowered limit a little later."""

    def __init__(self, shared: bool) -> None:
        self.history: dict[Budget, list[tuple[int, int | None]]] = {}
        self._shared = shared
        self._lowered: dict[Budget, tuple[int, int]] = {}

    def tell(self, key: Budget, limit: int | None, stale: bool, told_ms: int, number: int) -> None:
        """``stale``: told by one of several processes that had not heard of a change yet. What it promised by
        a higher limit stands, and then the newest is in force again."""
        history = self.history.setdefault(key, [])
        now = history[-1][1] if history else None
        if stale:
            if now is not None and (limit is None or limit > now):
                history += [(number, limit), (number, now)]
            return
        due = self._lowered.pop(key, None)
        if self._shared and history and limit is not None and (now is None or limit < now):
            same = due is not None and due[1] == limit
            self._lowered[key] = due if due and same else (told_ms + limits.CHANGE_HEARD_MS, limit)
        elif not history or now != limit:
            history.append((number, limit))

    def pass_time(self, record: Record, number: int) -> None:
        """Of several processes, each may sell under a limit that was lowered until it has heard of it."""
        if not self._lowered:
            return
        now_ms = at_ms(record)
        for key, (due_ms, limit) in list(self._lowered.items()):
            if due_ms <= now_ms:
                self.history[key].append((number, limit))
                del self._lowered[key]

    def in_force(self) -> Iterator[tuple[str, str, int]]:
        """(account, period, limit) of every budget that there is in the end."""
        for (account, period), history in self.history.items():
            _, limit = self._lowered.get((account, period), history[-1])
            if limit is not None:
                yield account, period, limit
