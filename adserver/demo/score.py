"""What the driver saw: latencies, verdicts, and the books it checks the laws with."""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from adserver.demo.capbook import CapBook
from adserver.demo.feedbook import FeedBook
from adserver.demo.spendbook import SpendBook
from adserver.domain.catalogue import Catalogue

_RECENT: Final = 4000


class Score:
    """``asked``: kind of request -> how many; ``latencies``: seconds of the last decisions, as the client
    saw them; ``verdicts``: of events; ``failures``: what no server should answer."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.asked: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.latencies: deque[float] = deque(maxlen=_RECENT)
        self._known: set[str] = set()
        self._since: list[float] = []
        self.bids = self.released = self.lost = 0
        self.offences: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
        self.feeds = FeedBook(catalogue, self._teller(1))
        self.caps = CapBook(catalogue, self._teller(2))
        self.spend = SpendBook(catalogue, self._teller(3), self._teller(4))

    def _teller(self, law: int) -> Callable[[str], None]:
        return self.offences[law].append

    def known(self, event_id: str) -> bool:
        """Whether this ad was answered before (a feed page asked for again); it is known from now on."""
        if event_id in self._known:
            return True
        self._known.add(event_id)
        return False

    @property
    def decisions(self) -> int:
        return self.asked["decision"] + self.asked["auction"]

    def decided(self, kind: str, seconds: float) -> None:
        self.asked[kind] += 1
        self.latencies.append(seconds)
        self._since.append(seconds)

    def slowness(self) -> float:
        """p99 seconds of the decisions since the last call."""
        ordered = sorted(self._since)
        self._since.clear()
        return ordered[len(ordered) * 99 // 100] if ordered else 0.0

    def quantiles(self) -> tuple[float, float]:
        """(p50, p99) seconds of the last decisions."""
        ordered = sorted(self.latencies)
        if not ordered:
            return 0.0, 0.0
        return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
