"""Durations, flights across clock changes, dayparts, amounts, shares."""

from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adserver.catalog.fields import Fields
from adserver.catalog.findings import Findings
from adserver.catalog.terms import parse_share
from adserver.catalog.times import DAYS, check_zone, duration_ms, instant_ms, read_dayparts, read_flight
from adserver.domain import money

ZONES = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
]
UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@settings(deadline=None)
@given(st.integers(1, 10**9 - 1), st.sampled_from(sorted(UNITS)))
def test_durations(count: int, unit: str) -> None:
    assert duration_ms(f"{count}{unit}") == count * UNITS[unit]


@pytest.mark.parametrize(
    "text", ["", "15", "m", "0m", "-1m", "1.5h", "1w", "1h30m", " 1h", "1H", "٣h", "lifetime"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_ms(text)


@settings(deadline=None)
@given(st.integers(0, 10**15))
def test_amounts_round_trip(micros: int) -> None:
    assert money.parse_amount(money.format_micros(micros)) == micros


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(0, 6))
def test_shares_are_exact(parts: int, places: int) -> None:
    parts = min(parts, 10**places)
    text = f"{parts // 10**places}" + (f".{parts % 10**places:0{places}d}" if places else "")
    share = parse_share(text)
    assert Fraction(share.num, share.den) == Fraction(parts, 10**places)
    assert share.text == text


@pytest.mark.parametrize(
    "text", ["0", "0.000000", "1.000001", "2", "6%", ".06", "0.0000001", "-0.1", "1e-2", "nan"]
)
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="is not a share"):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "zone", "is_end", "instant"),
    [
        ("2026-06-01", "Europe/Paris", False, "2026-05-31T22:00"),
        ("2026-08-31", "Europe/Paris", True, "2026-08-31T22:00"),
        ("2026-06-01T09:30", "Europe/Paris", False, "2026-06-01T07:30"),
        ("2026-06-01T09:30:15Z", "Europe/Paris", False, "2026-06-01T09:30:15"),
        ("2026-06-01 09:30-04:00", "Europe/Paris", True, "2026-06-01T13:30"),
        # Clocks go forward at 02:00: a time that is skipped is what waiting would have reached.
        ("2026-03-29T02:30", "Europe/Paris", False, "2026-03-29T01:30"),
        ("2026-03-29T02:30", "Europe/Paris", True, "2026-03-29T01:30"),
        # Clocks go back at 03:00: the first 02:30 starts a flight, the second ends one.
        ("2026-10-25T02:30", "Europe/Paris", False, "2026-10-25T00:30"),
        ("2026-10-25T02:30", "Europe/Paris", True, "2026-10-25T01:30"),
        # A day of 23 and one of 25 hours.
        ("2026-03-29", "Europe/Paris", True, "2026-03-29T22:00"),
        ("2026-10-25", "Europe/Paris", True, "2026-10-25T23:00"),
        # Half an hour of change, and a midnight that does not exist.
        ("2026-04-05T01:45", "Australia/Lord_Howe", False, "2026-04-04T14:45"),
        ("2026-04-05T01:45", "Australia/Lord_Howe", True, "2026-04-04T15:15"),
        ("2018-11-04", "America/Sao_Paulo", False, "2018-11-04T03:00"),
    ],
)
def test_instants(text: str, zone: str, is_end: bool, instant: str) -> None:
    assert instant_ms(text, zone, is_end) == utc(instant)


@settings(deadline=None)
@given(
    st.dates(date(1990, 1, 1), date(2035, 1, 1)),
    st.times(),
    st.sampled_from(ZONES),
)
def test_a_local_time_and_its_instant_agree(day: date, hour: time, zone: str) -> None:
    local = datetime.combine(day, hour.replace(second=0, microsecond=0))
    text = local.isoformat(timespec="minutes")
    start, end = instant_ms(text, zone, False), instant_ms(text, zone, True)
    assert 0 <= end - start <= 3_600_000
    for instant in (start, end):
        there = datetime.fromtimestamp(instant / 1000, ZoneInfo(zone)).replace(tzinfo=None)
        assert there == local or timedelta(0) < there - local <= timedelta(hours=1)


@settings(deadline=None)
@given(st.dates(date(1990, 1, 1), date(2035, 1, 1)), st.sampled_from(ZONES))
def test_days_follow_each_other_without_gap_or_overlap(day: date, zone: str) -> None:
    following = day + timedelta(days=1)
    assert instant_ms(str(day), zone, True) == instant_ms(str(following), zone, False)


@pytest.mark.parametrize(
    "text", ["2026-13-01", "2026-02-30", "2026-06-01T25:00", "tomorrow", "20260601", "9999-12-31"]
)
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match="is not a date or time"):
        instant_ms(text, "UTC", True)


@pytest.mark.parametrize(
    "zone", ["../../etc/localtime", "/etc/localtime", "", "Europe", "localtime ", "CEST!", "posix"]
)
def test_what_is_no_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        check_zone(zone)


def test_an_open_flight() -> None:
    findings = Findings()
    flight = read_flight(Fields({"flight": {"end": "2026-06-01"}}, "", findings), "UTC")
    assert (flight.start_ms, flight.end_ms) == (None, utc("2026-06-02T00:00"))
    assert not findings.problems


def hours(parts: list[object]) -> frozenset[int] | None:
    findings = Findings()
    found = read_dayparts(Fields({"dayparts": parts}, "", findings))
    assert not findings.problems, findings.problems
    return found


def test_dayparts() -> None:
    assert hours([{"days": ["mon", "tue"], "hours": "07-10"}]) == {7, 8, 9, 31, 32, 33}
    assert hours([{"days": ["sun"], "hours": "22-02"}]) == {166, 167, 0, 1}
    assert hours([{"days": ["fri"]}]) == set(range(96, 120))
    assert hours([{"hours": "00-24"}]) == set(range(168))
    assert hours([{"days": ["mon"], "hours": ["07-09", "12", 20]}]) == {7, 8, 12, 20}
    assert hours([{"days": ["mon"], "hours": "23-24"}, {"days": ["tue"], "hours": "0-1"}]) == {23, 24}
    assert read_dayparts(Fields({}, "", Findings())) is None


@settings(deadline=None)
@given(st.sets(st.sampled_from(DAYS), min_size=1), st.integers(0, 23), st.integers(1, 23))
def test_a_span_wraps_midnight_and_belongs_to_the_day_it_starts(
    days: set[str], start: int, length: int
) -> None:
    end = (start + length - 1) % 24 + 1
    found = hours([{"days": sorted(days), "hours": f"{start:02d}-{end:02d}"}])
    expected = {(DAYS.index(day) * 24 + start + hour) % 168 for day in days for hour in range(length)}
    assert found == expected
