"""Numbers of several processes as those of one."""

from inspect import signature

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from adserver.telemetry.families import RULES, Family, Sample, exposition, families, kept, summed
from adserver.telemetry.metrics import Metrics
from adserver.workers.numbers import Numbers


def whole() -> Metrics:
    metrics = Metrics()
    metrics.watch(*[lambda: 1.0] * len(signature(metrics.watch).parameters))
    return metrics


def values(found: tuple[Family, ...]) -> dict[str, float]:
    return {
        sample.name + "".join(f" {value}" for _, value in sample.labels): sample.value
        for family in found
        for sample in family.samples
    }


def told(name: str, kind: str, value: float) -> tuple[Family, ...]:
    return (Family(name, "", kind, (Sample(name, (), value),)),)


def test_what_is_shown_is_what_one_process_would_show() -> None:
    metrics = whole()
    metrics.decided(0.1)
    metrics.refused("/v1/decisions", 400)
    mine, again = metrics.exposition()[1].decode(), exposition(summed([families(metrics.registry)])).decode()
    steady = [line for line in mine.splitlines() if line.startswith("adserver_")]
    assert [line for line in again.splitlines() if line.startswith("adserver_")] == steady
    assert len(list(text_string_to_metric_families(again))) == len(list(text_string_to_metric_families(mine)))


def test_counters_and_histograms_are_added_up() -> None:
    one, other = whole(), whole()
    for metrics, seconds in ((one, 0.0001), (other, 0.3), (other, 0.0001)):
        metrics.decided(seconds)
        metrics.decision("live")
    other.refused("/v1/events", 503)
    found = values(summed([families(one.registry), families(other.registry)]))
    assert found["adserver_decisions_total live"] == 3
    assert found["adserver_decision_seconds_bucket 0.0001"] == 2
    assert found["adserver_decision_seconds_bucket +Inf"] == found["adserver_decision_seconds_count"] == 3
    assert found["adserver_refused_requests_total /v1/events 503"] == 1


def test_every_gauge_has_a_rule() -> None:
    gauges = {family.name for family in families(whole().registry) if family.kind in ("gauge", "info")}
    assert gauges == set(RULES)


def test_gauges_tell_the_worse() -> None:
    for name, shown in (
        ("adserver_journal_open", 2),
        ("adserver_snapshot_revision", 2),
        ("adserver_loop_lag_seconds", 7),
        ("adserver_ledger_refused", 9),
    ):
        assert values(summed([told(name, "gauge", 7), told(name, "gauge", 2)])) == {name: shown}


def test_when_a_counter_began_is_not_added_up() -> None:
    samples = (Sample("x_total", (), 3), Sample("x_created", (), 100))
    later = (Sample("x_total", (), 3), Sample("x_created", (), 200))
    assert values(summed([(Family("x", "", "counter", part),) for part in (samples, later)])) == {
        "x_total": 6,
        "x_created": 100,
    }


def test_of_who_is_gone_only_counts_are_kept() -> None:
    assert kept(told("a", "gauge", 1) + told("b_total", "counter", 1)) == told("b_total", "counter", 1)


Step = tuple[str, int, int]


@given(st.lists(st.tuples(st.sampled_from(["count", "tell", "die"]), st.integers(0, 2), st.integers(0, 9))))
def test_a_sum_never_goes_back_and_misses_only_what_was_not_told(steps: list[Step]) -> None:
    """Whatever dies in between, told or not."""
    numbers, counts = Numbers(3), [0, 0, 0]
    shown, happened, lost, untold = 0.0, 0, 0, [0, 0, 0]
    for what, worker, more in steps:
        if what == "count":
            counts[worker] += more
            untold[worker] += more
            happened += more
        elif what == "tell":
            numbers.counted(worker, told("events_total", "counter", counts[worker]))
            untold[worker] = 0
        else:
            numbers.lost(worker)
            lost += untold[worker]
            counts[worker] = untold[worker] = 0
        now = values(numbers.total([])).get("events_total", 0.0)
        assert now >= shown
        assert now == happened - lost - sum(untold)
        shown = now


def test_who_serves_and_how_often_each_began() -> None:
    numbers = Numbers(2)
    for number in (0, 1, 1):
        numbers.began(number)
    found = values(numbers.total([1]))
    assert (found["adserver_worker_up 0"], found["adserver_worker_up 1"]) == (0, 1)
    assert (found["adserver_worker_starts_total 0"], found["adserver_worker_starts_total 1"]) == (1, 2)
