"""Adding what this process knows to a generation that is being made (``agreement``), a part at a time.

Meanwhile events go on: what becomes of somebody's ads is told of whom was added, and for the others it stands
in what is still to be added. Everybody is added once, also where the connection broke in between.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from adserver.state.shared import commands
from adserver.state.shared.keys import Keys, Who
from adserver.state.shared.mirror import Pieces
from adserver.state.shared.worker import Worker

_AT_ONCE: Final = 200


class Adding:
    """To one generation. ``whose``: asked of roots, whether that person is to be added."""

    def __init__(self, worker: Worker, generation: str, whose: Callable[[bytes], bool]) -> None:
        self.generation = generation
        self._worker = worker
        everybody = worker.mirror.everybody()
        self._accounts = dict[bytes, list[bytes]]()
        for account, root in worker.paging.roots.items():
            self._accounts.setdefault(root, []).append(account)
            everybody.setdefault(root, Pieces([], []))
        self._left = {root: pieces for root, pieces in everybody.items() if whose(root)}
        self._sent: list[commands.Words] = []

    def covers(self, root: bytes) -> bool:
        return root in self._left

    def some(self) -> list[commands.Words]:
        """The next commands; the same again until they were ``added``."""
        if not self._sent:
            for root in list(islice(self._left, _AT_ONCE)):
                self._sent += self._commands(root)
        return self._sent

    def added(self) -> None:
        self._sent = []

    def _commands(self, root: bytes) -> Iterator[commands.Words]:
        worker, now_ms = self._worker, self._worker.clock()
        for share in worker.mirror.shares(root, self._left.pop(root)):
            yield commands.add(Keys(share.who, self.generation), share, worker.number, now_ms)
        keys = Keys(Who(root, None), self.generation)
        for name in self._accounts.pop(root, ()):
            account = worker.paging.find(name, now_ms)
            if account is not None:
                yield commands.page(keys, name, account, now_ms)
