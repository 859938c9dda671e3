"""Tallies tell a scrape what the client library's own counters and histograms would."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from adserver.telemetry.tallies import Tallies, Times

BOUNDS = (5e-05, 0.0001, 0.01, 1.0)


def told(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.floats(0, 2) | st.sampled_from(BOUNDS)))
def test_times(seconds: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    times = Times("a_seconds", "How long.", ours, BOUNDS)
    histogram = Histogram("a_seconds", "How long.", registry=theirs, buckets=BOUNDS)
    for one in seconds:
        times.observe(one)
        histogram.observe(one)
    assert told(ours) == told(theirs)


@given(st.lists(st.tuples(st.sampled_from(("x", "y")), st.integers(0, 9))))
def test_tallies(steps: list[tuple[str, int]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies("a", "How many.", ours, ["kind"], [("x",), ("y",)])
    counter = Counter("a", "How many.", ["kind"], registry=theirs)
    for kind in ("x", "y"):
        counter.labels(kind)
    for kind, step in steps:
        tallies.steps[kind,] += step
        counter.labels(kind).inc(step)
    assert told(ours) == told(theirs)
