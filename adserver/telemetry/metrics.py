"""The server's numbers, in the field's words, as Prometheus reads them.

Labels are bounded: codes and routes of ours, never an id that somebody sends. Amounts of money are not
here (a sample is a binary float); they are in the ledger and its reports.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from adserver.domain.decision import EventKind, NoFill
from adserver.domain.records import Status

_SECONDS: Final = (
    5e-05, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
)  # fmt: skip


class Metrics:
    """Of one app: each has its own registry, so that tests can run many. ``inc`` of a metric takes a lock
    and about half a microsecond."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._decision = Histogram(
            "adserver_decision_seconds", "From the body read to the answer encoded.", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        decisions = _counter("decisions", "Decisions by mode: live, test, dry_run.", registry, "mode")
        self._decisions = {mode: decisions.labels(mode) for mode in ("live", "test", "dry_run")}
        self._placements = _counter("placements", "Placements asked for.", registry)
        self._ads = _counter("ads", "Ads answered.", registry)
        no_fill = _counter(
            "no_fill", "Placements with fewer ads than asked for, by reason.", registry, "reason"
        )
        self._no_fill = {reason: no_fill.labels(str(reason)) for reason in NoFill}
        feed = _counter("feed_items", "Items of feed pages answered.", registry, "kind")
        self._organic, self._sponsored = feed.labels("organic"), feed.labels("sponsored")
        events = _counter("events", "Calls on tracking URLs.", registry, "kind", "verdict")
        self._events = {
            (kind, status): events.labels(kind.name.lower(), status.name.lower())
            for kind in EventKind
            for status in Status
        }
        billed = _counter("billed_events", "Events that were billed.", registry, "kind")
        self._billed = {kind: billed.labels(kind.name.lower()) for kind in EventKind}
        self._refused = _counter("refused_requests", "Answers of 400 and above.", registry, "route", "status")
        self._builds_failed = _counter(
            "snapshot_build_failures", "Snapshots that could not be built.", registry
        )

    def decided(self, seconds: float) -> None:
        self._decision.observe(seconds)

    def decision(self, mode: str) -> None:
        """``mode``: live, test or dry_run."""
        self._decisions[mode].inc()

    def placement(self, ads: int, no_fill: str | None) -> None:
        """What one placement was answered; ``no_fill`` is a code of ``NoFill``."""
        self._placements.inc()
        if ads:
            self._ads.inc(ads)
        if no_fill is not None:
            self._no_fill[NoFill(no_fill)].inc()

    def feed_page(self, organic: int, sponsored: int) -> None:
        """A page of a feed, counted once however often it is answered."""
        self._organic.inc(organic)
        self._sponsored.inc(sponsored)

    def event(self, kind: EventKind, status: Status, billed: bool) -> None:
        self._events[kind, status].inc()
        if billed:
            self._billed[kind].inc()

    def refused(self, route: str, status: int) -> None:
        """``route``: a path template of ours."""
        self._refused.labels(route, str(status)).inc()

    def build_failed(self) -> None:
        self._builds_failed.inc()

    def watch(
        self,
        journal_lag_bytes: Callable[[], float],
        snapshot_revision: Callable[[], float],
        snapshot_age_seconds: Callable[[], float],
        journal_open: Callable[[], float],
        ledger_refused: Callable[[], float],
        loop_lag_seconds: Callable[[], float],
    ) -> None:
        """Gauges that are read when somebody asks. Call once."""
        _gauge("journal_lag_bytes", "Journalled, not yet posted.", self.registry, journal_lag_bytes)
        _gauge("journal_open", "1 while the journal has room.", self.registry, journal_open)
        _gauge("ledger_refused", "Billed by the journal, refused by a budget: must be 0.", self.registry,
               ledger_refused)  # fmt: skip
        _gauge("loop_lag_seconds", "How late the event loop is.", self.registry, loop_lag_seconds)
        _gauge("snapshot_revision", "Revision of the live snapshot.", self.registry, snapshot_revision)
        _gauge("snapshot_age_seconds", "Since it went live.", self.registry, snapshot_age_seconds)

    def exposition(self) -> tuple[bytes, bytes]:
        """(media type, body) of ``/metrics``."""
        return CONTENT_TYPE_PLAIN_1_0_0.encode("ascii"), generate_latest(self.registry)


def _counter(name: str, told: str, registry: CollectorRegistry, *labels: str) -> Counter:
    return Counter(f"adserver_{name}", told, labels, registry=registry)


def _gauge(name: str, told: str, registry: CollectorRegistry, read: Callable[[], float]) -> None:
    Gauge(f"adserver_{name}", told, registry=registry).set_function(read)
