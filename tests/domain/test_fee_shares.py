"""A day's fee: exact over the days of a flight, and among the placements that showed it."""

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adserver.domain import counted, ids, limits
from adserver.domain.decision import EventKind
from adserver.domain.fees import Accrued, fee_id, of_day, split
from adserver.domain.records import ENCODER, RECORDS, Status, Unbilled

NANOS = st.integers(0, limits.AMOUNT_MICROS_MAX * 1000)
SHOWN = st.dictionaries(st.integers(1, 2**31), st.integers(1, 10**9), min_size=1, max_size=30)


@given(NANOS, st.integers(1, limits.FEE_DAYS))
def test_the_days_of_a_flight_are_its_price(price: int, days: int) -> None:
    parts = [of_day(price, days, day) for day in range(days)]
    assert sum(parts) == price
    assert max(parts) - min(parts) <= 1


@given(NANOS, st.integers(1, limits.FEE_DAYS), st.integers(1, 100))
def test_no_day_outside_costs_anything(price: int, days: int, far: int) -> None:
    assert of_day(price, days, -far) == of_day(price, days, days + far - 1) == 0


@given(NANOS, st.integers(-(10**6), 10**6))
def test_every_day_has_the_price_of_a_day(price: int, day: int) -> None:
    assert of_day(price, 0, day) == price


@given(NANOS, SHOWN)
def test_a_fee_is_shared_to_the_nano(nanos: int, shown: dict[int, int]) -> None:
    """Nobody is a nano away from his share, and who showed more never gets less."""
    parts, total = split(nanos, shown), sum(shown.values())
    assert sum(part for _, _, part in parts) == nanos
    assert {placement: count for placement, count, _ in parts} == shown
    for _, count, part in parts:
        assert abs(part - Fraction(nanos * count, total)) < 1
    in_order = sorted(parts, key=lambda part: part[1])
    assert all(less[2] <= more[2] for less, more in pairwise(in_order)
               if less[1] < more[1])  # fmt: skip
    assert parts == split(nanos, dict(reversed(shown.items())))
    assert parts[0][2] == max(part for _, _, part in parts)


def test_more_placements_than_a_fee_is_shared_among() -> None:
    shown = dict.fromkeys(range(1, limits.FEE_PARTS + 2), 5) | {7: 4}
    parts = split(10**9, shown)
    assert len(parts) == limits.FEE_PARTS
    assert 7 not in {placement for placement, _, _ in parts}
    assert sum(part for _, _, part in parts) == 10**9


@given(
    st.integers(0, 2**48 - 1),
    st.integers(1, 2**32 - 1),
    NANOS,
    SHOWN,
    st.sampled_from((Unbilled.NONE, Unbilled.OVER_BUDGET)),
)
def test_its_parts_are_events(
    start_ms: int, line_item: int, nanos: int, shown: dict[int, int], reason: Unbilled
) -> None:
    fee = Accrued(line_item, 20_605, start_ms, start_ms + 1, reason, split(nanos, shown))
    assert RECORDS.decode(ENCODER.encode(fee)) == fee
    events = counted.events_of(fee)
    assert sum(event.billed_nanos + event.free_nanos for event in events) == nanos
    assert fee.billed_nanos == sum(event.billed_nanos for event in events)
    assert fee.billed_nanos in (0, nanos)
    assert len({event.event_id for event in events} | {fee_id(start_ms, line_item)}) == len(events) + 1
    for number, (event, (placement, _, part)) in enumerate(zip(events, fee.parts, strict=True)):
        assert (event.kind, event.status, event.placement) == (EventKind.FEE, Status.ACCEPTED, placement)
        assert (ids.minted_ms(event.event_id), ids.index_of(event.event_id)) == (start_ms, number)
        assert (event.unbilled == Unbilled.NONE) == (event.billed_nanos > 0)
        assert (event.unbilled == Unbilled.FREE) == (part == 0)
