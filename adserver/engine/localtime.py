"""Local time from instants: hours of the week and days, right across changes of the clocks."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from adserver.domain.campaign import Flight

_EPOCH: Final = date(1970, 1, 1)
_QUARTER_MS: Final = 15 * 60_000


def hour_of_week(timezone: str, now_ms: int) -> int:
    """0 = Monday 00:00 to 00:59 on the wall there. Offsets of zones change on quarter hours at most, so
    a quarter is computed once."""
    return _hour_of_week(timezone, now_ms // _QUARTER_MS)


@lru_cache(maxsize=1024)
def _hour_of_week(timezone: str, quarter: int) -> int:
    local = _local(timezone, quarter * _QUARTER_MS)
    return local.weekday() * 24 + local.hour


def day(timezone: str, now_ms: int) -> int:
    """The local date as days since 1970-01-01."""
    return day_span(timezone, now_ms)[0]


def day_span(timezone: str, now_ms: int) -> tuple[int, int, int]:
    """(day, start ms, end ms) of the local day that holds ``now_ms``: 23 to 25 hours, end exclusive."""
    return _day_span(timezone, now_ms // _QUARTER_MS)


@lru_cache(maxsize=1024)
def _day_span(timezone: str, quarter: int) -> tuple[int, int, int]:
    today = _local(timezone, quarter * _QUARTER_MS).date()
    zone = ZoneInfo(timezone)
    starts = [datetime(d.year, d.month, d.day, tzinfo=zone) for d in (today, today + timedelta(days=1))]
    start_ms, end_ms = (int(start.timestamp()) * 1000 for start in starts)
    return (today - _EPOCH).days, start_ms, end_ms


def flight_days(flight: Flight, timezone: str) -> tuple[int, int]:
    """(first local day, how many) of a flight with a start and an end, begun ones too."""
    assert flight.start_ms is not None and flight.end_ms is not None
    first = day(timezone, flight.start_ms)
    return first, day(timezone, flight.end_ms - 1) - first + 1


def _local(timezone: str, at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(timezone))
