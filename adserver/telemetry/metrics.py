"""The server's numbers, in the field's words, as Prometheus reads them.

Labels are bounded: codes and routes of ours, never an id that somebody sends. Amounts of money are not
here (a sample is a binary float); they are in the ledger and its reports.
"""

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from adserver.domain.decision import EventKind, NoFill
from adserver.domain.invalid import Invalid
from adserver.domain.records import Status
from adserver.telemetry.sharing import SharingMetrics
from adserver.telemetry.tallies import Tallies, Times

_SECONDS: Final = (
    5e-05, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
)  # fmt: skip


_KIND: Final = {kind: kind.name.lower() for kind in EventKind}
_STATUS: Final = {status: status.name.lower() for status in Status}


class Metrics:
    """Of one app: each has its own registry, so that tests can run many. What every request moves is in
    ``tallies``."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.decided = Times(
            "adserver_decision_seconds", "From the body read to the answer encoded.", registry, _SECONDS
        ).observe
        modes = [("live",), ("test",), ("dry_run",)]
        self._decisions = _tallies(
            "decisions", "Decisions by mode: live, test, dry_run.", registry, "mode", modes
        )
        self._placements = _tallies("placements", "Placements asked for.", registry)
        self._ads = _tallies("ads", "Ads answered.", registry)
        reasons = [(str(reason),) for reason in NoFill]
        self._no_fill = _tallies(
            "no_fill", "Placements with fewer ads than asked for, by reason.", registry, "reason", reasons
        )
        items = [("organic",), ("sponsored",)]
        self._feed_items = _tallies("feed_items", "Items of feed pages answered.", registry, "kind", items)
        verdicts = [(kind, status) for kind in _KIND.values() for status in _STATUS.values()]
        self._events = _tallies("events", "Calls on tracking URLs.", registry, "kind verdict", verdicts)
        found = [(str(reason),) for reason in Invalid]
        self._filtered = _tallies(
            "filtered_events", "Calls marked as invalid traffic, by reason.", registry, "reason", found
        )
        kinds = [(kind,) for kind in _KIND.values()]
        self._billed = _tallies("billed_events", "Events that were billed.", registry, "kind", kinds)
        self._conversions = _counter("conversions", "Conversions told of, by status.", registry, "status")
        self._refused = _counter("refused_requests", "Answers of 400 and above.", registry, "route", "status")
        self._builds_failed = _counter(
            "snapshot_build_failures", "Snapshots that could not be built.", registry
        )

        self._list_failed = _counter(
            "data_centre_list_failures", "Times that the file could not be used; the last good is.", registry
        )
        self.sharing = SharingMetrics(registry)
        self._posting_failed = _counter(
            "posting_failures",
            "Times that posting stopped: it waits for room, or its process died.",
            registry,
        )

    def decision(self, mode: str) -> None:
        """``mode``: live, test or dry_run."""
        self._decisions[mode,] += 1

    def placement(self, ads: int, no_fill: str | None) -> None:
        """What one placement was answered; ``no_fill`` is a code of ``NoFill``."""
        self._placements[()] += 1
        self._ads[()] += ads
        if no_fill is not None:
            self._no_fill[no_fill,] += 1

    def feed_page(self, organic: int, sponsored: int) -> None:
        """A page of a feed, counted once however often it is answered."""
        self._feed_items["organic",] += organic
        self._feed_items["sponsored",] += sponsored

    def event(self, kind: EventKind, status: Status, billed: bool, calls: int = 1) -> None:
        name = _KIND[kind]
        self._events[name, _STATUS[status]] += calls
        if billed:
            self._billed[name,] += calls

    def filtered(self, reason: Invalid) -> None:
        self._filtered[reason,] += 1

    def converted(self, status: str, count: int) -> None:
        """``status``: attributed, unattributed, duplicate, late or invalid."""
        self._conversions.labels(status).inc(count)

    def refused(self, route: str, status: int) -> None:
        """``route``: a path template of ours."""
        self._refused.labels(route, str(status)).inc()

    def build_failed(self) -> None:
        self._builds_failed.inc()

    def list_failed(self) -> None:
        self._list_failed.inc()

    def posting_failed(self) -> None:
        self._posting_failed.inc()

    def watch(
        self,
        journal_lag_bytes: Callable[[], float],
        snapshot_revision: Callable[[], float],
        snapshot_age_seconds: Callable[[], float],
        journal_open: Callable[[], float],
        ledger_refused: Callable[[], float],
        loop_lag_seconds: Callable[[], float],
        data_centre_networks: Callable[[], float],
        touches_dropped: Callable[[], float],
        state_known: Callable[[], float],
    ) -> None:
        """Gauges that are read when somebody asks. Call once."""
        _gauge("journal_lag_bytes", "Journalled, not yet posted.", self.registry, journal_lag_bytes)
        _gauge("journal_open", "1 while the journal has room.", self.registry, journal_open)
        _gauge("ledger_refused", "Billed by the journal, refused by a budget: must be 0.", self.registry,
               ledger_refused)  # fmt: skip
        _gauge("data_centre_networks", "Listed, in use.", self.registry, data_centre_networks)
        _gauge("loop_lag_seconds", "How late the event loop is.", self.registry, loop_lag_seconds)
        _gauge("touches_dropped", "Clicks and views that conversions could not be owed to any more: no room.",
               self.registry, touches_dropped)  # fmt: skip
        _gauge("state_known", "1 while it is known what people have seen.", self.registry, state_known)
        _gauge("snapshot_revision", "Revision of the live snapshot.", self.registry, snapshot_revision)
        _gauge("snapshot_age_seconds", "Since it went live.", self.registry, snapshot_age_seconds)

    def exposition(self) -> tuple[bytes, bytes]:
        """(media type, body) of ``/metrics``."""
        return CONTENT_TYPE_PLAIN_1_0_0.encode("ascii"), generate_latest(self.registry)


def _tallies(
    name: str,
    told: str,
    registry: CollectorRegistry,
    labels: str = "",
    keys: Sequence[tuple[str, ...]] = ((),),
) -> dict[tuple[str, ...], int]:
    return Tallies(f"adserver_{name}", told, registry, labels.split(), keys).steps


def _counter(name: str, told: str, registry: CollectorRegistry, *labels: str) -> Counter:
    return Counter(f"adserver_{name}", told, labels, registry=registry)


def _gauge(name: str, told: str, registry: CollectorRegistry, read: Callable[[], float]) -> None:
    Gauge(f"adserver_{name}", told, registry=registry).set_function(read)
