"""Numbers of several processes as those of one.

Counters and histograms are added up, and what a process had counted when it ended is kept, so that a sum
never goes back. A gauge is what the rule of its name makes of it (``RULES``); one without a rule is added up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Labels = tuple[tuple[str, str], ...]
_Key = tuple[str, Labels]
_Rule = Callable[[float, float], float]

_STEADY: Final = ("counter", "histogram", "summary")
_CREATED: Final = "_created"


def _sum(one: float, other: float) -> float:
    return one + other


RULES: Final[Mapping[str, _Rule]] = {
    "adserver_journal_lag_bytes": _sum,
    "adserver_journal_open": min,
    "adserver_state_known": min,
    "adserver_ledger_refused": _sum,
    "adserver_data_centre_networks": min,
    "adserver_loop_lag_seconds": max,
    "adserver_touches_dropped": _sum,
    "adserver_snapshot_revision": min,
    "adserver_snapshot_age_seconds": max,
    "process_virtual_memory_bytes": _sum,
    "process_resident_memory_bytes": _sum,
    "process_start_time_seconds": min,
    "process_open_fds": max,
    "process_max_fds": min,
    "python_info": max,
}
"""Of every gauge: how those of two processes become one; ``min`` or ``max``: what an operator has to worry
about most."""


class Sample(Struct, frozen=True, array_like=True):
    name: str
    labels: Labels
    value: float


class Family(Struct, frozen=True, array_like=True):
    """``kind``: counter, gauge, histogram, ..."""

    name: str
    told: str
    kind: str
    samples: tuple[Sample, ...]


def families(registry: CollectorRegistry) -> tuple[Family, ...]:
    """All numbers of this process."""
    return tuple(
        Family(
            metric.name, metric.documentation, metric.type,
            tuple(Sample(one.name, tuple(one.labels.items()), one.value) for one in metric.samples),
        )
        for metric in registry.collect()
    )  # fmt: skip


def summed(parts: Iterable[Sequence[Family]]) -> tuple[Family, ...]:
    """As one process would tell them."""
    heads: dict[str, Family] = {}
    found: dict[str, dict[_Key, float]] = {}
    for family in (family for part in parts for family in part):
        heads.setdefault(family.name, family)
        values = found.setdefault(family.name, {})
        for sample in family.samples:
            key = sample.name, sample.labels
            rule = _rule(family, sample.name)
            values[key] = rule(values[key], sample.value) if key in values else sample.value
    return tuple(
        Family(name, head.told, head.kind, tuple(Sample(*key, value) for key, value in found[name].items()))
        for name, head in heads.items()
    )


def kept(part: Iterable[Family]) -> tuple[Family, ...]:
    """What of a process's numbers outlives it."""
    return tuple(family for family in part if family.kind in _STEADY)


def _rule(family: Family, name: str) -> _Rule:
    if name.endswith(_CREATED):
        return min
    return _sum if family.kind in _STEADY else RULES.get(family.name, _sum)


class _Given(Collector):
    def __init__(self, given: Iterable[Family]) -> None:
        self._given = given

    def collect(self) -> Iterator[Metric]:
        for family in self._given:
            metric = Metric(family.name, family.told, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric


def exposition(given: Iterable[Family]) -> bytes:
    """As Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Given(given))
    return generate_latest(registry)
