"""The hours and days of a time zone as spans of quarters of an hour, by which everything is rolled up.

Zones' offsets are whole quarters and change on them, so a quarter is in one hour and one day on the wall. A
day has 23 to 25 hours; an hour that comes twice is two spans, told apart by their offset from UTC.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

QUARTER_MS: Final = 900_000


class Span(Struct, frozen=True):
    """The quarters [first, end); ``labels``: of ``hour`` and ``day`` as asked for, in that order."""

    labels: tuple[str, ...]
    first: int
    end: int


def spans(by: Sequence[str], zone: ZoneInfo, first: int, end: int) -> list[Span]:
    """Those of the quarters [first, end), in order; one without labels where time is not asked for."""
    if not by:
        return [Span((), first, end)]
    quarters = ((_labels(by, zone, quarter), quarter) for quarter in range(first, end))
    return list(_joined(quarters))


def begins_day(zone: ZoneInfo, quarter: int) -> bool:
    """Whether a day begins there with this quarter."""
    return _labels(("day",), zone, quarter) != _labels(("day",), zone, quarter - 1)


def _joined(quarters: Iterator[tuple[tuple[str, ...], int]]) -> Iterator[Span]:
    for labels, group in groupby(quarters, key=lambda one: one[0]):
        inside = [quarter for _, quarter in group]
        yield Span(labels, inside[0], inside[-1] + 1)


def _labels(by: Sequence[str], zone: ZoneInfo, quarter: int) -> tuple[str, ...]:
    local = datetime.fromtimestamp(quarter * QUARTER_MS // 1000, UTC).astimezone(zone)
    told = {"hour": local.replace(minute=0, second=0).isoformat(), "day": local.date().isoformat()}
    return tuple(told[name] for name in by)


def instant_ms(text: str, zone: ZoneInfo, through: bool) -> int:
    """An instant (with its offset), or a local day: its beginning, or, ``through``, its end. Raises
    ValueError."""
    if len(text) == len("2026-01-31"):
        day = date.fromisoformat(text) + timedelta(days=through)
        return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000
    at = datetime.fromisoformat(text)
    return int(at.replace(tzinfo=at.tzinfo or zone).timestamp() * 1000)
