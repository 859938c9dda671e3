"""Wall clocks of the world against the standard library, around every clock change of some years."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.engine import localtime

ZONES = ("UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Cairo",
         "Asia/Beirut", "America/Havana", "America/Santiago", "Pacific/Chatham", "Asia/Tokyo")  # fmt: skip
BEGIN, END = 1_735_689_600_000, 1_830_297_600_000
"""2025 to 2027"""
EPOCH = date(1970, 1, 1)
HOUR_MS = 3600_000


def local(zone: str, at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))


def changes(zone: str) -> list[int]:
    """The instants at which the offset of a zone changes."""
    found = []
    for at_ms in range(BEGIN, END, HOUR_MS // 2):
        if local(zone, at_ms).utcoffset() != local(zone, at_ms - HOUR_MS // 2).utcoffset():
            found.append(at_ms)
    return found


@given(st.sampled_from(ZONES), st.integers(BEGIN, END))
def test_hours_and_days_are_those_on_the_wall(zone: str, at_ms: int) -> None:
    there = local(zone, at_ms)
    assert localtime.hour_of_week(zone, at_ms) == there.weekday() * 24 + there.hour
    assert localtime.day(zone, at_ms) == (there.date() - EPOCH).days
    day, start_ms, end_ms = localtime.day_span(zone, at_ms)
    assert start_ms <= at_ms < end_ms
    assert 23 * HOUR_MS <= end_ms - start_ms <= 25 * HOUR_MS
    assert localtime.day_span(zone, start_ms) == (day, start_ms, end_ms)
    assert localtime.day_span(zone, end_ms - 1) == (day, start_ms, end_ms)
    assert localtime.day_span(zone, end_ms)[:2] == (day + 1, end_ms)


@pytest.mark.parametrize("zone", ["Europe/Paris", "Asia/Beirut", "America/Havana", "Australia/Lord_Howe"])
def test_around_every_clock_change(zone: str) -> None:
    found = changes(zone)
    assert len(found) >= 5
    for at_ms in found:
        for near_ms in (at_ms - HOUR_MS, at_ms - 1, at_ms, at_ms + 1, at_ms + HOUR_MS):
            there = local(zone, near_ms)
            assert localtime.hour_of_week(zone, near_ms) == there.weekday() * 24 + there.hour
            day, start_ms, end_ms = localtime.day_span(zone, near_ms)
            assert day == (there.date() - EPOCH).days
            assert start_ms <= near_ms < end_ms
            assert local(zone, start_ms).date() == there.date() != local(zone, end_ms).date()


def test_the_week_begins_on_monday() -> None:
    monday = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000)
    assert localtime.hour_of_week("UTC", monday) == 0
    assert localtime.hour_of_week("UTC", monday - 1) == 167
    assert localtime.day("UTC", monday) == (date(2026, 6, 1) - EPOCH) // timedelta(days=1)
