"""Events already recorded: de-duplication in memory for as long as their tokens live.

An entry stays until its token can no longer be accepted and the ledger has posted it; from then on the
ledger's primary key answers for good (``services.events``). About 120 bytes an entry.
"""

from itertools import islice

import msgspec

from adserver.domain.calendar import Calendar
from adserver.domain.told import Accepted


class Seen:
    """``keys`` are event id + kind (17 bytes); to be looked into, and added to by ``add`` alone."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self._ends = Calendar()

    def __contains__(self, key: bytes) -> bool:
        return key in self.keys

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: bytes, until_ms: int) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self._ends.put(until_ms, key)

    def shown(self, run: list[Accepted], extra_ms: int) -> None:
        """``add`` each of a run of impressions that are not there, for so long after its token's end."""
        add, put = self.keys.add, self._ends.put
        for told, _, _, _, _ in run:
            add(told[1])
            put(told[3] + extra_ms, told[1])

    def sweep(self, now_ms: int, most: int = 10_000) -> None:
        """Forget those whose time is over; not to be called while the ledger is behind."""
        for _, key in islice(self._ends.over(now_ms), most):
            self.keys.discard(key)

    def dump(self) -> bytes:
        """Everything, for a checkpoint."""
        return msgspec.msgpack.encode(list(self._ends))

    def load(self, dumped: bytes) -> None:
        ends = msgspec.msgpack.decode(dumped, type=list[tuple[int, bytes]])
        self._ends = Calendar(ends)
        self.keys = {key for _, key in ends}
