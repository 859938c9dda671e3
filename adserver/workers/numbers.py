"""The numbers of all workers as those of one server (``telemetry.families``).

The parent asks all, and remembers what each told last. So nothing that was shown is ever taken back: a worker
that dies leaves what it last told, one that is silent counts as it last was.
"""

from collections.abc import Collection, Iterable

from adserver.telemetry.families import Family, Sample, kept, summed

Families = tuple[Family, ...]


class Numbers:
    """Of ``workers``."""

    def __init__(self, workers: int) -> None:
        self._starts = [0] * workers
        self._last: dict[int, Families] = {}
        self._ended: Families = ()

    def began(self, number: int) -> None:
        """A process of this worker; it counts from nothing."""
        self._starts[number] += 1

    def counted(self, number: int, families: Families) -> None:
        self._last[number] = families

    def lost(self, number: int) -> None:
        """Its process has ended."""
        last = self._last.pop(number, ())
        self._ended = summed((self._ended, kept(last)))

    def total(self, serving: Collection[int]) -> Families:
        """``serving``: which workers do."""
        return (*summed((self._ended, *self._last.values())), *self._own(serving))

    def _own(self, serving: Collection[int]) -> Iterable[Family]:
        ups = [float(number in serving) for number in range(len(self._starts))]
        starts = map(float, self._starts)
        yield _family("adserver_worker_up", "1 while it serves.", "gauge", "adserver_worker_up", ups)
        yield _family(
            "adserver_worker_starts", "Processes of each worker.", "counter", "adserver_worker_starts_total",
            starts,
        )  # fmt: skip


def _family(name: str, told: str, kind: str, sample: str, values: Iterable[float]) -> Family:
    samples = (Sample(sample, (("worker", str(number)),), value) for number, value in enumerate(values))
    return Family(name, told, kind, tuple(samples))
