"""Numbers that every request moves, kept as plain integers.

The client library's counters take a lock and half a microsecond a step, and a decision makes six. Here a
step is one addition; the library only asks for the sums when somebody scrapes. The steps belong to the event
loop's thread; a scrape in another one reads whole integers, each at most a moment old.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Tallies(Collector):
    """A counter by labels. ``keys``: every combination of label values there is; each has its sample from the
    start, and a step on another one is a KeyError. ``steps``: the sums, to be added to in place."""

    def __init__(
        self, name: str, told: str, registry: CollectorRegistry, labels: Sequence[str],
        keys: Sequence[tuple[str, ...]],
    ) -> None:  # fmt: skip
        self._name, self._told, self._labels = name, told, labels
        self.steps = dict.fromkeys(keys, 0)
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._told, labels=self._labels)
        for key, count in self.steps.items():
            family.add_metric(key, count)
        yield family


class Times(Collector):
    """A histogram of seconds. ``bounds``: of its buckets, rising, each inclusive."""

    def __init__(self, name: str, told: str, registry: CollectorRegistry, bounds: Sequence[float]) -> None:
        self._name, self._told, self._bounds = name, told, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum_s = 0.0
        registry.register(self)

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum_s += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        names = (*map(repr, self._bounds), "+Inf")
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._told, buckets=buckets, sum_value=self._sum_s)
