"""Metrics: names in the field's words, bounded labels, a registry for each app."""

from prometheus_client.parser import text_string_to_metric_families

from adserver.domain.decision import EventKind, NoFill
from adserver.domain.invalid import Invalid
from adserver.domain.records import Status
from adserver.telemetry.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, body = metrics.exposition()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_every_code_has_its_sample_from_the_start() -> None:
    found = samples(Metrics())
    for reason in NoFill:
        assert found["adserver_no_fill_total", (("reason", str(reason)),)] == 0
    for kind in EventKind:
        for status in Status:
            labels = (("kind", kind.name.lower()), ("verdict", status.name.lower()))
            assert found["adserver_events_total", labels] == 0


def test_counts() -> None:
    metrics = Metrics()
    metrics.decided(0.0003)
    metrics.decision("live")
    metrics.placement(2, None)
    metrics.placement(0, "feed_cap")
    metrics.feed_page(20, 1)
    metrics.event(EventKind.IMPRESSION, Status.ACCEPTED, True)
    metrics.event(EventKind.CLICK, Status.DUPLICATE, False)
    metrics.refused("/v1/decisions", 400)
    metrics.converted("late", 5)
    metrics.build_failed()
    metrics.filtered(Invalid.FAST_CLICK)
    metrics.list_failed()
    metrics.posting_failed()
    lags = lambda: 7, lambda: 42, lambda: 1.5, lambda: 1, lambda: 0, lambda: 0.001
    metrics.watch(*lags, lambda: 9, lambda: 3, lambda: 1)
    found = samples(metrics)
    for name, labels, value in (
        ("adserver_decision_seconds_count", (), 1),
        ("adserver_decisions_total", (("mode", "live"),), 1),
        ("adserver_placements_total", (), 2),
        ("adserver_ads_total", (), 2),
        ("adserver_no_fill_total", (("reason", "feed_cap"),), 1),
        ("adserver_feed_items_total", (("kind", "organic"),), 20),
        ("adserver_feed_items_total", (("kind", "sponsored"),), 1),
        ("adserver_events_total", (("kind", "click"), ("verdict", "duplicate")), 1),
        ("adserver_billed_events_total", (("kind", "impression"),), 1),
        ("adserver_refused_requests_total", (("route", "/v1/decisions"), ("status", "400")), 1),
        ("adserver_snapshot_build_failures_total", (), 1),
        ("adserver_posting_failures_total", (), 1),
        ("adserver_filtered_events_total", (("reason", "fast_click"),), 1),
        ("adserver_filtered_events_total", (("reason", "crawler"),), 0),
        ("adserver_data_centre_list_failures_total", (), 1),
        ("adserver_data_centre_networks", (), 9),
        ("adserver_conversions_total", (("status", "late"),), 5),
        ("adserver_touches_dropped", (), 3),
        ("adserver_journal_lag_bytes", (), 7),
        ("adserver_journal_open", (), 1),
        ("adserver_state_known", (), 1),
        ("adserver_snapshot_revision", (), 42),
        ("adserver_snapshot_age_seconds", (), 1.5),
    ):
        assert found[name, labels] == value, name


def test_each_app_has_its_own() -> None:
    one, two = Metrics(), Metrics()
    one.decision("test")
    assert samples(one)["adserver_decisions_total", (("mode", "test"),)] == 1
    assert samples(two)["adserver_decisions_total", (("mode", "test"),)] == 0


def test_names_end_in_their_unit() -> None:
    for name, _ in samples(Metrics()):
        if name.startswith("adserver_") and not name.endswith(("_created", "_bucket", "_count", "_sum")):
            assert name.endswith(("_total", "_seconds", "_bytes")), name
